#include "tests/fs/shared_mount.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include "cas/base/check.h"
#include "cas/base/fd.h"
#include "store/kv/lmdb_kv.h"

namespace modelfs::fs {
namespace {

constexpr auto kGenerous = std::chrono::seconds(20);

void Overlay(const std::string& file, const std::string& target) {
  CHECK(::chmod(file.c_str(), 0644) == 0);
  CHECK(::mount(file.c_str(), target.c_str(), nullptr, MS_BIND, nullptr) == 0);
}

std::string ReadHostFile(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

// Later mounts are not seen outside of this namespace. In a chroot `/` may be a directory of a mount and not
// its root: then the namespace's own root is made private; chroot(2) describes the way to it.
void KeepMountsToOurselves() {
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0) return;
  CHECK(errno == EINVAL);
  const Fd inside(::open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  const Fd here(::open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  std::string below = "/tmp/modelfs-test-XXXXXX";
  CHECK(inside.valid() && here.valid() && ::mkdtemp(below.data()) != nullptr);
  CHECK(::chroot(below.c_str()) == 0);  // and "." is outside of it
  struct stat at = {};
  struct stat above = {};
  do {
    CHECK(::stat(".", &at) == 0 && ::chdir("..") == 0 && ::stat(".", &above) == 0);
  } while (at.st_ino != above.st_ino || at.st_dev != above.st_dev);
  const int made_private = ::mount(nullptr, ".", nullptr, MS_REC | MS_PRIVATE, nullptr);
  CHECK(::fchdir(inside.get()) == 0 && ::chroot(".") == 0);
  ::rmdir(below.c_str());
  CHECK(::fchdir(here.get()) == 0 && made_private == 0);
}

void EnterOwnHost(const std::string& directory, size_t more) {
  CHECK(::unshare(CLONE_NEWNS) == 0);
  KeepMountsToOurselves();
  std::string passwd = ReadHostFile("/etc/passwd");
  std::string group = ReadHostFile("/etc/group");
  for (const User* user : {&kAnn, &kBob, &kDora, &kSam, &kEve, &kCarl}) {
    passwd += fmt::format("{}:x:{}:{}::/:/bin/sh\n", user->name, user->uid, user->gid);
    if (user->gid == user->uid) group += fmt::format("{}:x:{}:\n", user->name, user->gid);
  }
  group += fmt::format("{}:x:{}:{}\n", kScience, kDora.gid, kSam.name);
  group += fmt::format("{}:x:{}:\n", kGates, kGatesId);
  for (size_t i = 1; i <= more; ++i)
    passwd += fmt::format("mfs-{}:x:{}:{}::/:/bin/sh\n", i, 70000 + i, 70000 + i);
  std::ofstream(directory + "/passwd") << passwd;
  std::ofstream(directory + "/group") << group;
  Overlay(directory + "/passwd", "/etc/passwd");
  Overlay(directory + "/group", "/etc/group");
}

}  // namespace

bool Eventually(const std::function<bool()>& condition) {
  const auto until = std::chrono::steady_clock::now() + kGenerous;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > until) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return true;
}

int As(const User& user, const std::function<int()>& work) {
  const pid_t child = ::fork();
  CHECK(child >= 0);
  if (child == 0) {
    if (::setgroups(user.groups.size(), user.groups.data()) != 0 ||
        ::setresgid(user.gid, user.gid, user.gid) != 0 || ::setresuid(user.uid, user.uid, user.uid) != 0) {
      ::_exit(255);
    }
    ::prctl(PR_SET_DUMPABLE, 1);  // its /proc/self is its own, as with any process that began as that user
    ::_exit(work());
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 254;
}

SharedMount::SharedMount(size_t more) {
  Mounted::Options options;
  options.shared = true;
  mounted_ = std::make_unique<Mounted>(options);
  EnterOwnHost(mounted_->scratch(""), more);

  std::filesystem::create_directories(mounted_->home() + "/kv");
  auto kv = store::OpenLmdbKv({.directory = mounted_->home() + "/kv",
                               .mode = store::LmdbOptions::Mode::kCreate,
                               .initial_map_bytes = uint64_t{1} << 20U,
                               .unsafe_no_sync = false});
  CHECK(kv.ok());
  kv_ = *std::move(kv);
  CHECK(store::InitializeRegistry(*kv_, SystemClock(), admin(),
                                  store::RegistrySettings::SignaturePolicy::kIfMlmodel)
            .ok());
  auto blobs = cas::LocalStore::Open(
      cas::RealFiles(), {.root = mounted_->home() + "/store", .hash_threads = 0, .log = nullptr});
  CHECK(blobs.ok());
  blobs_ = *std::move(blobs);
  auto identities = store::HostIdentities::Open({});
  CHECK(identities.ok());
  identities_ = *std::move(identities);
  auto registry = store::EmbeddedRegistry::Open(*kv_, *blobs_, SystemClock(), identities_.get());
  CHECK(registry.ok());
  registry_ = *std::move(registry);

  mounted_->Start();
  CHECK(registry_->Create(admin(), store::kMetastoreId, "cat", "").ok());
  CHECK(registry_->Create(admin(), Id("cat"), "sch", "").ok());
  Grant("cat", "account users", {store::Privilege::kUseCatalog});
  Grant("cat.sch", "account users", {store::Privilege::kUseSchema});
  Grant("cat.sch", kAnn.name, {store::Privilege::kCreateModel});
}

SharedMount::~SharedMount() {
  registry_.reset();
  mounted_.reset();
  // The overlays lie in the scratch directory and go with the namespace.
  ::umount2("/etc/passwd", MNT_DETACH);
  ::umount2("/etc/group", MNT_DETACH);
}

store::Caller SharedMount::admin() const {
  store::Caller caller;
  caller.principal = "mfs-admin";
  caller.uid = 65000;
  caller.door = "test";
  return caller;
}

store::ObjectId SharedMount::Id(const std::string& dotted) {
  const auto object = registry_->Lookup(admin(), store::FullName::Parse(dotted).value());
  CHECK(object.ok());
  return object->id;
}

void SharedMount::GrantAll(const std::string& dotted, const std::vector<std::string>& principals,
                           store::PrivilegeSet privileges) {
  // As many at once as one transaction allows.
  constexpr size_t kAtOnce = 20;
  const store::ObjectId id = Id(dotted);
  for (size_t begin = 0; begin < principals.size(); begin += kAtOnce) {
    std::vector<store::GrantChange> changes;
    for (size_t i = begin; i < std::min(begin + kAtOnce, principals.size()); ++i) {
      store::GrantChange change;
      change.principal = principals[i];
      change.add = privileges;
      changes.push_back(std::move(change));
    }
    const Status granted = registry_->ChangeGrants(admin(), id, changes);
    if (!granted.ok()) ADD_FAILURE() << granted.error().message();
  }
}

void SharedMount::Grant(const std::string& dotted, const std::string& principal,
                        store::PrivilegeSet privileges) {
  GrantAll(dotted, {principal}, privileges);
}

void SharedMount::Revoke(const std::string& dotted, const std::string& principal,
                         store::PrivilegeSet privileges) {
  store::GrantChange change;
  change.principal = principal;
  change.remove = privileges;
  const Status revoked = registry_->ChangeGrants(admin(), Id(dotted), {change});
  if (!revoked.ok()) ADD_FAILURE() << revoked.error().message();
}

void SharedMount::Renumber(const std::map<std::string, uid_t>& uids) {
  std::stringstream lines(ReadHostFile("/etc/passwd"));
  std::string passwd;
  for (std::string line; std::getline(lines, line);) {
    const auto found = uids.find(line.substr(0, line.find(':')));
    passwd += found == uids.end()
                  ? line + "\n"
                  : fmt::format("{}:x:{}:{}::/:/bin/sh\n", found->first, found->second, found->second);
  }
  // Writes the file that is mounted over the host's.
  std::ofstream(mounted_->scratch("passwd")) << passwd;
}

std::string SharedMount::MakeModel(const std::string& name) {
  std::string model = path() + "/cat/sch/" + name;
  const int made = As(kAnn, [&] {
    ::umask(022);
    const std::string draft = model + "/versions/draft";
    if (::mkdir(model.c_str(), 0755) != 0) return errno;
    if (::mkdir(draft.c_str(), 0755) != 0) return errno;
    if (::mkdir((draft + "/data").c_str(), 0755) != 0) return errno;
    if (const int error = WriteFile(draft + "/MLmodel",
                                    "flavors: {}\nsignature:\n  inputs: '[{\"type\": \"double\"}]'\n"
                                    "  outputs: '[{\"type\": \"double\"}]'\n")) {
      return error;
    }
    if (const int error = WriteFile(draft + "/data/weights", "weights of " + name)) return error;
    if (const int error = WriteFile(draft + "/run.sh", "#!/bin/sh\nexit 0\n")) return error;
    if (::chmod((draft + "/run.sh").c_str(), 0755) != 0) return errno;
    if (::rename(draft.c_str(), (model + "/versions/1").c_str()) != 0) return errno;
    return Errno(::symlink("../versions/1", (model + "/aliases/Champion").c_str()));
  });
  EXPECT_EQ(made, 0) << std::strerror(made) << "\n" << mounted_->Errors();
  return model;
}

}  // namespace modelfs::fs
