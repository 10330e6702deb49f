#include "store/mlmodel.h"
