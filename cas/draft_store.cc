#include "cas/draft_store.h"
