#include "cas/files.h"
