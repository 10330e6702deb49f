#include "cas/ingest.h"
