#include "tests/cas/fake_files.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <utility>

#include "cas/base/check.h"
#include "tests/cas/test_support.h"

namespace modelfs::cas {
namespace {

namespace fs = std::filesystem;

std::string FolderOf(const std::string& path) { return path.substr(0, path.rfind('/')); }

}  // namespace

class FakeWritableFile : public WritableFile {
 public:
  FakeWritableFile(FakeFiles& files, std::string path, std::unique_ptr<WritableFile> real)
      : files_(files), path_(std::move(path)), real_(std::move(real)) {}
  Status Append(std::span<const std::byte> bytes) override {
    RETURN_IF_ERROR(files_.Call("write", path_));
    return real_->Append(bytes);
  }
  Status Sync() override { return files_.SyncFile(path_); }

 private:
  FakeFiles& files_;
  const std::string path_;
  const std::unique_ptr<WritableFile> real_;
};

class FakeEditableFile : public EditableFile {
 public:
  FakeEditableFile(FakeFiles& files, std::string path, std::unique_ptr<EditableFile> real)
      : files_(files), path_(std::move(path)), real_(std::move(real)) {}
  int fd() const override { return real_->fd(); }
  Result<size_t> WriteAt(uint64_t offset_bytes, std::span<const std::byte> bytes) override {
    RETURN_IF_ERROR(files_.Call("pwrite", path_));
    return real_->WriteAt(offset_bytes, bytes);
  }
  Result<uint64_t> CopyAt(uint64_t offset_bytes, int from_fd, uint64_t from_offset_bytes,
                          uint64_t length_bytes) override {
    RETURN_IF_ERROR(files_.Call("copy_file_range", path_));
    return real_->CopyAt(offset_bytes, from_fd, from_offset_bytes, length_bytes);
  }
  Status Truncate(uint64_t size_bytes) override {
    RETURN_IF_ERROR(files_.Call("ftruncate", path_));
    return real_->Truncate(size_bytes);
  }
  Status Allocate(uint64_t offset_bytes, uint64_t length_bytes) override {
    RETURN_IF_ERROR(files_.Call("fallocate", path_));
    return real_->Allocate(offset_bytes, length_bytes);
  }
  Status SetMode(uint32_t mode) override {
    RETURN_IF_ERROR(files_.Call("fchmod", path_));
    return real_->SetMode(mode);
  }
  Status Sync() override { return files_.SyncFile(path_); }
  void StartWriteback() override {}

 private:
  FakeFiles& files_;
  const std::string path_;
  const std::unique_ptr<EditableFile> real_;
};

FakeFiles::FakeFiles(std::string root) : root_(std::move(root)), pins_(root_ + ".pins") {
  fs::create_directories(pins_);
  SyncFileSystem(root_).IgnoreError("nothing is armed yet");
}

void FakeFiles::FailCall(int n) {
  MutexLock lock(mu_);
  calls_left_ = n;
  fault_fired_ = false;
}

void FakeFiles::BeforeCall(std::function<void(std::string_view call, const std::string& path)> hook) {
  before_call_ = std::move(hook);
}

Status FakeFiles::Call(const char* call, const std::string& path) {
  if (before_call_) before_call_(call, path);
  MutexLock lock(mu_);
  if (calls_left_ == 0 || --calls_left_ != 0) return OkStatus();
  fault_fired_ = true;
  return Error(Code::kNoSpace, std::string(call) + " " + path + ": injected fault");
}

void FakeFiles::Pin(const std::string& path) {
  struct stat info {};
  if (::lstat(path.c_str(), &info) != 0 || !S_ISREG(info.st_mode)) return;
  ::link(path.c_str(), (pins_ + "/" + std::to_string(info.st_ino)).c_str());
}

void FakeFiles::MarkSynced(const std::string& path) {
  struct stat info {};
  CHECK(::lstat(path.c_str(), &info) == 0);
  if (!S_ISREG(info.st_mode)) return;
  Pin(path);
  std::string bytes = ReadFile(path);
  MutexLock lock(mu_);
  synced_bytes_[info.st_ino] = std::move(bytes);
}

FakeFiles::Names FakeFiles::NamesBelow(const std::string& directory, bool recursive) {
  Names names;
  for (const fs::directory_entry& entry : fs::directory_iterator(directory)) {
    struct stat info {};
    CHECK(::lstat(entry.path().c_str(), &info) == 0);
    Name& name = names[entry.path()];
    name = {.inode = info.st_ino, .directory = S_ISDIR(info.st_mode)};
    if (S_ISLNK(info.st_mode)) {
      name.target = fs::read_symlink(entry.path());
      name.mtime = info.st_mtim;
    }
    if (recursive && S_ISDIR(info.st_mode)) names.merge(NamesBelow(entry.path(), true));
  }
  return names;
}

Result<std::unique_ptr<WritableFile>> FakeFiles::Create(const std::string& path, uint32_t mode) {
  RETURN_IF_ERROR(Call("create", path));
  ASSIGN_OR_RETURN(std::unique_ptr<WritableFile> real, RealFiles().Create(path, mode));
  Pin(path);
  return std::make_unique<FakeWritableFile>(*this, path, std::move(real));
}
Result<std::unique_ptr<EditableFile>> FakeFiles::CreateEditable(const std::string& path, uint32_t mode) {
  RETURN_IF_ERROR(Call("create", path));
  ASSIGN_OR_RETURN(std::unique_ptr<EditableFile> real, RealFiles().CreateEditable(path, mode));
  Pin(path);
  return std::make_unique<FakeEditableFile>(*this, path, std::move(real));
}
Result<std::unique_ptr<EditableFile>> FakeFiles::OpenEditable(const std::string& path) {
  RETURN_IF_ERROR(Call("open", path));
  ASSIGN_OR_RETURN(std::unique_ptr<EditableFile> real, RealFiles().OpenEditable(path));
  return std::make_unique<FakeEditableFile>(*this, path, std::move(real));
}
Result<std::string> FakeFiles::ReadAll(const std::string& path, uint64_t limit_bytes) {
  RETURN_IF_ERROR(Call("read", path));
  return RealFiles().ReadAll(path, limit_bytes);
}
Result<Fd> FakeFiles::OpenRead(const std::string& path) {
  RETURN_IF_ERROR(Call("open", path));
  return RealFiles().OpenRead(path);
}
Result<Fd> FakeFiles::OpenLock(const std::string& path) {
  RETURN_IF_ERROR(Call("open", path));
  return RealFiles().OpenLock(path);
}
Result<FileInfo> FakeFiles::Stat(const std::string& path) {
  RETURN_IF_ERROR(Call("stat", path));
  return RealFiles().Stat(path);
}
Status FakeFiles::SyncFile(const std::string& path) {
  RETURN_IF_ERROR(Call("fsync", path));
  MarkSynced(path);
  return OkStatus();
}
Status FakeFiles::SyncFileSystem(const std::string& path) {
  RETURN_IF_ERROR(Call("syncfs", path));
  const Names names = NamesBelow(root_, true);
  for (const auto& [name, info] : names) MarkSynced(name);
  MutexLock lock(mu_);
  synced_names_ = names;
  return OkStatus();
}
Status FakeFiles::SyncDirectory(const std::string& path) {
  RETURN_IF_ERROR(Call("fsync", path));
  const Names now = NamesBelow(path, false);
  MutexLock lock(mu_);
  std::erase_if(synced_names_, [&](const auto& name) { return FolderOf(name.first) == path; });
  synced_names_.insert(now.begin(), now.end());
  return OkStatus();
}
Status FakeFiles::Rename(const std::string& from, const std::string& to) {
  RETURN_IF_ERROR(Call("rename", from));
  Pin(to);
  return RealFiles().Rename(from, to);
}
Status FakeFiles::RenameNew(const std::string& from, const std::string& to) {
  RETURN_IF_ERROR(Call("rename", from));
  return RealFiles().RenameNew(from, to);
}
Status FakeFiles::Exchange(const std::string& a, const std::string& b) {
  RETURN_IF_ERROR(Call("rename", a));
  return RealFiles().Exchange(a, b);
}
Status FakeFiles::Link(const std::string& from, const std::string& to) {
  RETURN_IF_ERROR(Call("link", from));
  Pin(from);
  return RealFiles().Link(from, to);
}
Status FakeFiles::Unlink(const std::string& path) {
  RETURN_IF_ERROR(Call("unlink", path));
  Pin(path);
  return RealFiles().Unlink(path);
}
Status FakeFiles::Symlink(const std::string& target, const std::string& path) {
  RETURN_IF_ERROR(Call("symlink", path));
  return RealFiles().Symlink(target, path);
}
Result<std::string> FakeFiles::ReadLink(const std::string& path) {
  RETURN_IF_ERROR(Call("readlink", path));
  return RealFiles().ReadLink(path);
}
Status FakeFiles::MakeDirectory(const std::string& path) {
  RETURN_IF_ERROR(Call("mkdir", path));
  return RealFiles().MakeDirectory(path);
}
Status FakeFiles::RemoveDirectory(const std::string& path) {
  RETURN_IF_ERROR(Call("rmdir", path));
  return RealFiles().RemoveDirectory(path);
}
void FakeFiles::PinAllBelow(const std::string& path) {
  Pin(path);
  struct stat info {};
  if (::lstat(path.c_str(), &info) != 0 || !S_ISDIR(info.st_mode)) return;
  for (const auto& [name, kind] : NamesBelow(path, true)) Pin(name);
}
Status FakeFiles::RemoveTree(const std::string& path) {
  RETURN_IF_ERROR(Call("remove", path));
  PinAllBelow(path);
  return RealFiles().RemoveTree(path);
}
Status FakeFiles::MakeDirectories(const std::string& path) {
  RETURN_IF_ERROR(Call("mkdir", path));
  return RealFiles().MakeDirectories(path);
}
Status FakeFiles::SetMode(const std::string& path, uint32_t mode) {
  RETURN_IF_ERROR(Call("chmod", path));
  return RealFiles().SetMode(path, mode);
}
Status FakeFiles::SetTimes(const std::string& path, const NewTimes& times) {
  RETURN_IF_ERROR(Call("utimensat", path));
  return RealFiles().SetTimes(path, times);
}
Result<std::vector<std::string>> FakeFiles::List(const std::string& path) {
  RETURN_IF_ERROR(Call("readdir", path));
  return RealFiles().List(path);
}

Result<size_t> FakeFiles::ReadAt(int fd, const std::string& path, uint64_t offset_bytes,
                                 std::span<std::byte> out) {
  struct stat info {};
  CHECK(::fstat(fd, &info) == 0);
  {
    MutexLock lock(mu_);
    const auto verity = verity_bytes_.find(info.st_ino);
    const bool changed =
        verity != verity_bytes_.end() && verity->second != ReadFile("/proc/self/fd/" + std::to_string(fd));
    if (changed || path == unreadable_) return ErrnoError(EIO, "read " + path);
  }
  return RealFiles().ReadAt(fd, path, offset_bytes, out);
}
Status FakeFiles::EnableVerity(const std::string& path) {
  RETURN_IF_ERROR(Call("ioctl", path));
  if (verity_ == Verity::kNone) return Error(Code::kUnimplemented, "ioctl " + path + ": not supported");
  if (verity_ == Verity::kOpenForWriting) return Error(Code::kAborted, "ioctl " + path + ": text file busy");
  ASSIGN_OR_RETURN(const FileInfo info, RealFiles().Stat(path));
  Pin(path);
  MutexLock lock(mu_);
  verity_bytes_.emplace(info.inode, ReadFile(path));
  return OkStatus();
}
bool FakeFiles::HasVerity(const std::string& path) {
  const Result<FileInfo> info = RealFiles().Stat(path);
  MutexLock lock(mu_);
  return info.ok() && verity_bytes_.contains(info->inode);
}

void FakeFiles::PowerCut(UnsyncedNames names) {
  MutexLock lock(mu_);
  calls_left_ = 0;
  const Names now = NamesBelow(root_, true);
  for (const auto& [path, name] : now) Pin(path);
  const Names& survivors = names == UnsyncedNames::kKept ? now : synced_names_;

  struct Survivor {
    std::string bytes;
    FileInfo info;
  };
  std::map<std::string, Survivor> files;
  std::map<std::string, Name> links;
  std::vector<std::string> folders;  // parents first, because a map is sorted
  for (const auto& [path, name] : survivors) {
    const std::string folder = FolderOf(path);
    const auto parent = survivors.find(folder);
    if (folder != root_ && (parent == survivors.end() || !parent->second.directory)) continue;
    if (name.directory) {
      folders.push_back(path);
      continue;
    }
    if (name.target.has_value()) {
      links[path] = name;
      continue;
    }
    const std::string pin = pins_ + "/" + std::to_string(name.inode);
    const Result<FileInfo> info = RealFiles().Stat(pin);
    CHECK(info.ok());
    std::string bytes = ReadFile(pin);
    const auto synced = synced_bytes_.find(name.inode);
    if (synced == synced_bytes_.end() || synced->second != bytes) bytes.resize(bytes.size() / 2);
    files[path] = {.bytes = std::move(bytes), .info = *info};
  }
  for (const fs::directory_entry& entry : fs::directory_iterator(root_)) fs::remove_all(entry.path());
  fs::remove_all(pins_);
  for (const std::string& folder : folders) fs::create_directory(folder);
  for (const auto& [path, file] : files) {
    WriteFile(path, file.bytes);
    CHECK(RealFiles().SetMode(path, file.info.mode & 07777U).ok());
    const NewTimes times = {.atime = timespec{.tv_sec = file.info.atime_s, .tv_nsec = 0},
                            .mtime = timespec{.tv_sec = file.info.mtime_s, .tv_nsec = file.info.mtime_ns}};
    CHECK(RealFiles().SetTimes(path, times).ok());
  }
  for (const auto& [path, link] : links) {
    fs::create_symlink(*link.target, path);
    CHECK(RealFiles().SetTimes(path, {.mtime = link.mtime}).ok());
  }
}

}  // namespace modelfs::cas
