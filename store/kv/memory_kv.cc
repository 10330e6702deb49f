#include "store/kv/memory_kv.h"
