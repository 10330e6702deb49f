#include "cas/chunk_list.h"
