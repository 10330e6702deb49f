#include "tests/fs/kernel/toy_mount.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <spdlog/sinks/null_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "cas/base/check.h"

namespace modelfs::fs {

bool FuseIsMissing() {
  const Fd device(::open("/dev/fuse", O_RDWR | O_CLOEXEC));
  return !device.valid();
}

TestFolder::TestFolder() {
  std::string name = (std::filesystem::temp_directory_path() / "modelfs_test_XXXXXX").string();
  CHECK(::mkdtemp(name.data()) != nullptr);
  path_ = name;
}
TestFolder::~TestFolder() {
  std::error_code error;
  std::filesystem::remove_all(path_, error);
}
std::string TestFolder::File(const std::string& name, const std::string& content) const {
  std::ofstream(path_ + "/" + name, std::ios::binary) << content;
  return path_ + "/" + name;
}

class ToyZone::BackedHandle : public FileHandle {
 public:
  BackedHandle(ToyZone& zone, std::shared_ptr<Fd> fd, bool native)
      : zone_(zone), fd_(std::move(fd)), native_(native) {}
  ~BackedHandle() override { ++zone_.releases; }

  Outcome<size_t> Read(uint64_t offset_bytes, std::span<std::byte> out) override {
    ++zone_.reads;
    if (zone_.on_read) zone_.on_read();
    const ssize_t count = ::pread(fd_->get(), out.data(), out.size(), static_cast<off_t>(offset_bytes));
    if (count < 0) return Refuse(EIO, "the backing file cannot be read");
    return static_cast<size_t>(count);
  }
  std::optional<int> NativeFd() const override {
    return native_ ? std::optional<int>(fd_->get()) : std::nullopt;
  }

 private:
  ToyZone& zone_;
  const std::shared_ptr<Fd> fd_;
  const bool native_;
};

class ToyZone::MemoryHandle : public FileHandle {
 public:
  MemoryHandle(ToyZone& zone, std::shared_ptr<std::string> bytes) : zone_(zone), bytes_(std::move(bytes)) {}
  ~MemoryHandle() override { ++zone_.releases; }

  Outcome<size_t> Read(uint64_t offset_bytes, std::span<std::byte> out) override {
    MutexLock lock(zone_.mu_);
    if (offset_bytes >= bytes_->size()) return size_t{0};
    const size_t count = std::min(out.size(), bytes_->size() - offset_bytes);
    std::memcpy(out.data(), bytes_->data() + offset_bytes, count);
    return count;
  }
  Outcome<size_t> Write(uint64_t offset_bytes, std::span<const std::byte> bytes) override {
    MutexLock lock(zone_.mu_);
    if (bytes_->size() < offset_bytes + bytes.size()) bytes_->resize(offset_bytes + bytes.size());
    std::memcpy(bytes_->data() + offset_bytes, bytes.data(), bytes.size());
    return bytes.size();
  }

 private:
  ToyZone& zone_;
  const std::shared_ptr<std::string> bytes_;
};

void ToyZone::AddBacked(const std::string& name, const std::string& real_file, Flavour flavour) {
  MutexLock lock(mu_);
  File file;
  file.backing = std::make_shared<Fd>(::open(real_file.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat attr = {};
  CHECK(::fstat(file.backing->get(), &attr) == 0);
  file.size_bytes = static_cast<uint64_t>(attr.st_size);
  file.flavour = flavour;
  files_.push_back(std::move(file));
  names_[name] = static_cast<uint32_t>(files_.size());
}

void ToyZone::AddDirectory(const std::string& name, uint64_t entries, bool kernel_may_keep) {
  MutexLock lock(mu_);
  File file;
  file.directory_entries = entries;
  file.keep = kernel_may_keep;
  files_.push_back(std::move(file));
  names_[name] = static_cast<uint32_t>(files_.size());
}

void ToyZone::SetFlavour(const std::string& name, Flavour flavour) {
  MutexLock lock(mu_);
  files_[names_.at(name) - 1].flavour = flavour;
}

NodeId ToyZone::NodeOf(uint32_t index) const {
  const File& file = files_[index - 1];
  if (file.backing) return TreeNode(1, index, file.flavour);
  if (file.memory) return DraftNodeId(1, index);
  return InfoNode(index, InfoFile::kDirectory);
}

Outcome<uint32_t> ToyZone::IndexOf(NodeId node) const {
  const NodeParts parts = Parse(node);
  uint32_t index = 0;
  if (parts.kind == NodeKind::kTree) index = parts.tree_node;
  if (parts.kind == NodeKind::kDraft) index = parts.draft_node;
  if (parts.kind == NodeKind::kInfo) index = static_cast<uint32_t>(parts.object);
  if (index == 0 || index > files_.size()) return Refuse(ENOENT, "no such node");
  return index;
}

Entry ToyZone::EntryOf(uint32_t index) const {
  const File& file = files_[index - 1];
  Entry entry;
  entry.node = NodeOf(index);
  entry.attr.st_nlink = 1;
  entry.attr.st_uid = ::geteuid();
  if (file.backing) {
    entry.attr.st_mode = S_IFREG | 0644;
    entry.attr.st_size = static_cast<off_t>(file.size_bytes);
    entry.attr_ttl_s = kForever;
  } else if (file.memory) {
    entry.attr.st_mode = S_IFREG | 0644;
    entry.attr.st_size = static_cast<off_t>(file.memory->size());
  } else {
    entry.attr.st_mode = S_IFDIR | 0755;
  }
  entry.entry_ttl_s = kForever;
  return entry;
}

Outcome<Entry> ToyZone::Lookup(const Request&, NodeId parent, std::string_view name) {
  if (parent != kRootNode) {
    if (name[0] != 'e') return Refuse(ENOENT, "no such entry");
    Entry entry;
    entry.node = HeldNode(std::stoul(std::string(name.substr(1))) + 1);
    entry.attr.st_mode = S_IFREG | 0644;
    entry.attr_ttl_s = entry.entry_ttl_s = kForever;
    return entry;
  }
  MutexLock lock(mu_);
  const auto found = names_.find(name);
  if (found == names_.end()) return Refuse(ENOENT, "no such name");
  return EntryOf(found->second);
}

Outcome<Attr> ToyZone::GetAttr(const Request&, NodeId node) {
  Attr attr;
  if (node == kRootNode) {
    attr.attr.st_mode = S_IFDIR | 0755;
    attr.attr.st_uid = ::geteuid();
    attr.attr.st_nlink = 1;
    attr.ttl_s = kForever;
    return attr;
  }
  if (Parse(node).kind == NodeKind::kHeld) {
    attr.attr.st_mode = S_IFREG | 0644;
    return attr;
  }
  MutexLock lock(mu_);
  const Outcome<uint32_t> index = IndexOf(node);
  if (!index) return tl::unexpected(index.error());
  attr.attr = EntryOf(*index).attr;
  return attr;
}

Outcome<Place> ToyZone::PlaceOf(NodeId node) {
  MutexLock lock(mu_);
  const Outcome<uint32_t> index = IndexOf(node);
  for (const auto& [name, known] : names_) {
    if (index && known == *index) return Place{kRootNode, name};
  }
  return Refuse(ENOENT, "no such node");
}

Outcome<Attr> ToyZone::SetAttr(const Request& request, NodeId node, const AttrChange& change) {
  {
    MutexLock lock(mu_);
    const Outcome<uint32_t> index = IndexOf(node);
    if (!index) return tl::unexpected(index.error());
    File& file = files_[*index - 1];
    if (!file.memory) return Refuse(EROFS, "a READY version never changes");
    if (change.size_bytes) file.memory->resize(*change.size_bytes);
  }
  return GetAttr(request, node);
}

Outcome<CreatedFile> ToyZone::Create(const Request&, NodeId parent, std::string_view name, mode_t, int) {
  if (parent != kRootNode) return Refuse(EROFS, "a READY version never changes");
  MutexLock lock(mu_);
  File file;
  file.memory = std::make_shared<std::string>();
  files_.push_back(file);
  const auto index = static_cast<uint32_t>(files_.size());
  names_[std::string(name)] = index;
  CreatedFile created;
  created.entry = EntryOf(index);
  created.file.handle = std::make_shared<MemoryHandle>(*this, file.memory);
  return created;
}

Outcome<void> ToyZone::Unlink(const Request&, NodeId parent, std::string_view name) {
  MutexLock lock(mu_);
  const auto found = names_.find(name);
  if (parent != kRootNode || found == names_.end()) return Refuse(ENOENT, "no such name");
  names_.erase(found);
  return {};
}

Outcome<void> ToyZone::Rename(const Request&, NodeId, std::string_view name, NodeId,
                              std::string_view new_name, unsigned) {
  if (on_rename) return on_rename(name, new_name);
  return Refuse(EPERM, "renaming is not for toys");
}

Outcome<OpenedFile> ToyZone::Open(const Request&, NodeId node, int flags) {
  MutexLock lock(mu_);
  const Outcome<uint32_t> index = IndexOf(node);
  if (!index) return tl::unexpected(index.error());
  File& file = files_[*index - 1];
  if (file.memory) {
    if ((flags & O_TRUNC) != 0) file.memory->clear();
    return OpenedFile{std::make_shared<MemoryHandle>(*this, file.memory), PageCache::kDrop};
  }
  if ((flags & O_ACCMODE) != O_RDONLY) return Refuse(EROFS, "a READY version never changes");
  const bool native = Parse(node).flavour == Flavour::kNative;
  return OpenedFile{std::make_shared<BackedHandle>(*this, file.backing, native), PageCache::kKeep};
}

namespace {

class Numbered : public DirectoryHandle {
 public:
  explicit Numbered(uint64_t entries) : entries_(entries) {}
  Outcome<std::optional<DirectoryEntry>> At(uint64_t index, bool plus) override {
    if (index >= entries_) return std::nullopt;
    DirectoryEntry listed;
    listed.name = fmt::format("e{}", index);
    listed.node = HeldNode(index + 1);
    listed.type = S_IFREG;
    if (plus) {
      Entry entry;
      entry.node = listed.node;
      entry.attr.st_mode = S_IFREG | 0644;
      entry.attr_ttl_s = entry.entry_ttl_s = kForever;
      listed.entry = entry;
    }
    return listed;
  }

 private:
  const uint64_t entries_;
};

}  // namespace

Outcome<OpenedDirectory> ToyZone::OpenDirectory(const Request&, NodeId node) {
  MutexLock lock(mu_);
  if (node == kRootNode) {
    std::vector<DirectoryEntry> entries;
    for (const auto& [name, index] : names_) {
      const Entry entry = EntryOf(index);
      entries.push_back({name, entry.node, entry.attr.st_mode & S_IFMT, entry});
    }
    return OpenedDirectory{MakeDirectoryHandle(std::move(entries)), false};
  }
  const Outcome<uint32_t> index = IndexOf(node);
  if (!index) return tl::unexpected(index.error());
  const File& file = files_[*index - 1];
  return OpenedDirectory{std::make_shared<Numbered>(file.directory_entries), file.keep};
}

Outcome<std::string> ToyZone::GetXattr(const Request&, NodeId, std::string_view name) {
  if (name == "user.modelfs.status") return std::string("READY");
  return Refuse(ENODATA, "no such attribute");
}
Outcome<std::vector<std::string>> ToyZone::ListXattr(const Request&, NodeId) {
  return std::vector<std::string>{"user.modelfs.name", "user.modelfs.status"};
}

namespace {

std::shared_ptr<spdlog::logger> TestLog() {
  auto log = std::make_shared<spdlog::logger>("test", std::make_shared<spdlog::sinks::null_sink_mt>());
  if (std::getenv("MODELFS_TEST_LOG") != nullptr) {
    log = std::make_shared<spdlog::logger>("test", std::make_shared<spdlog::sinks::stderr_sink_mt>());
    log->set_level(spdlog::level::debug);
  }
  return log;
}

Dispatcher::Options OptionsOf(Refusals& refusals) {
  static const Result<std::unique_ptr<store::HostIdentities>> identities = store::HostIdentities::Open({});
  CHECK(identities.ok());
  Dispatcher::Options options;
  options.identities = identities->get();
  options.door = "mount toy";
  options.space_path = "/tmp";
  options.clock = &SystemClock();
  options.refusals = &refusals;
  options.log = TestLog();
  return options;
}

}  // namespace

ToyMount::ToyMount(ToyZone& zone, FuseChannel::Options options) : dispatcher_(OptionsOf(refusals_)) {
  if (options.mount_point.empty()) options.mount_point = folder_.path();
  path_ = options.mount_point;
  Result<std::unique_ptr<FuseChannel>> channel =
      FuseChannel::Mount(options, Dispatcher::Operations(), &dispatcher_, TestLog());
  CHECK(channel.ok());
  channel_ = *std::move(channel);
  dispatcher_.Bind(*channel_, Zones{&zone, &zone, &zone, &zone, &zone, &zone});
  notifier_.Start(*channel_);
  loop_ = std::thread([this] { served_ = channel_->Loop(nullptr); });
}

Status ToyMount::Stop() {
  channel_->Stop();
  return Join();
}

Status ToyMount::Join() {
  if (loop_.joinable()) {
    loop_.join();
    notifier_.Stop();
    dispatcher_.Finish();
  }
  return served_;
}

ToyMount::~ToyMount() { Stop().IgnoreError("the test asked where it matters"); }

bool Eventually(const std::function<bool()>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

std::string ReadWhole(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

std::string LastRefusal(const Refusals& refusals) {
  const std::vector<RefusalRecord> records = refusals.Of(::geteuid());
  if (records.empty()) return "";
  const RefusalRecord& last = records.back();
  return fmt::format("{} {} {}: {}", last.operation, last.path, last.errno_value, last.message);
}

}  // namespace modelfs::fs
