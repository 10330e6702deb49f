#include "cas/tree.h"
