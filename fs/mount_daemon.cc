#include "fs/mount_daemon.h"
