#include "cas/local_store.h"
