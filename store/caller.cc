#include "store/caller.h"
