#include "store/kv/lmdb_kv.h"
