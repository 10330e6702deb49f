#include "store/names.h"
