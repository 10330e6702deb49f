#include "store/embedded_registry.h"
