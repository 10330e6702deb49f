// Named places where a test can kill the process, to see the state that a `kill -9` there leaves behind.
//
//   FAIL_POINT("publish.linked");
//
// MODELFS_FAIL_POINT="publish.linked" in the environment sends this process SIGKILL at the first arrival
// there, "publish.linked:3" at the third. Fail points are compiled in if MODELFS_FAIL_POINTS is defined
// (every preset but `release`); otherwise the macro does nothing. docs/testing.md lists the names.
#pragma once

#ifdef MODELFS_FAIL_POINTS
namespace modelfs {
void ReachFailPoint(const char* name);
}
#define FAIL_POINT(name) ::modelfs::ReachFailPoint(name)
#else
#define FAIL_POINT(name) static_cast<void>(0)
#endif
