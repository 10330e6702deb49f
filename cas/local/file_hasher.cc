#include "cas/local/file_hasher.h"

#include <algorithm>
#include <array>
#include <deque>
#include <thread>
#include <vector>

#include "cas/base/checksum.h"
#include "cas/base/thread.h"
#include "cas/blob_store.h"

namespace modelfs::cas {
namespace {

// A large file passes through in pieces that stay in a core's cache while they are read, hashed and written:
// with pieces of a whole chunk the two copies alone took four times as long.
constexpr size_t kPieceBytes = size_t{256} << 10U;
static_assert(kChunkBytes % kPieceBytes == 0, "a piece lies in one chunk");

// The most pieces that the reader may be ahead of the hashing thread: enough to keep both busy.
constexpr size_t kPiecesInFlight = 8;

// A fixed set of buffers, so that memory stays bounded and pages warm.
class BufferPool {
 public:
  struct Filled {
    std::unique_ptr<std::byte[]> buffer;
    size_t size_bytes = 0;
    std::span<std::byte> room() const { return {buffer.get(), kPieceBytes}; }
    std::span<const std::byte> bytes() const { return room().first(size_bytes); }
  };
  using Shared = std::shared_ptr<Filled>;

  // Waits for a free buffer. The pool must outlive the buffers.
  Shared Take() {
    auto filled = std::make_unique<Filled>();
    {
      MutexLock lock(mu_);
      while (free_.empty() && made_ == kPiecesInFlight) returned_.Wait(mu_);
      if (free_.empty()) {
        ++made_;
      } else {
        filled->buffer = std::move(free_.back());
        free_.pop_back();
      }
    }
    if (filled->buffer == nullptr) filled->buffer = std::make_unique_for_overwrite<std::byte[]>(kPieceBytes);
    return {filled.release(), [this](Filled* done) {
              const std::unique_ptr<Filled> owner(done);
              MutexLock lock(mu_);
              free_.push_back(std::move(owner->buffer));
              returned_.NotifyOne();
            }};
  }

 private:
  Mutex mu_;
  CondVar returned_;
  std::vector<std::unique_ptr<std::byte[]>> free_ GUARDED_BY(mu_);
  size_t made_ GUARDED_BY(mu_) = 0;
};

// A thread that folds buffers in the order of Push; without a thread, the caller folds.
class Lane {
 public:
  Lane(bool threaded, std::function<void(std::span<const std::byte>)> fold) : fold_(std::move(fold)) {
    if (threaded) thread_ = TryStartThread([this] { Run(); });
  }
  ~Lane() { Close(); }

  void Push(const BufferPool::Shared& buffer) {
    if (!thread_.joinable()) return fold_(buffer->bytes());
    MutexLock lock(mu_);
    queue_.push_back(buffer);
    wake_.NotifyOne();
  }

  // Returns once all pushed buffers are folded.
  void Close() {
    if (!thread_.joinable()) return;
    {
      MutexLock lock(mu_);
      queue_.push_back(nullptr);
      wake_.NotifyOne();
    }
    thread_.join();
  }

 private:
  void Run() {
    while (true) {
      BufferPool::Shared buffer;
      {
        MutexLock lock(mu_);
        while (queue_.empty()) wake_.Wait(mu_);
        buffer = std::move(queue_.front());
        queue_.pop_front();
      }
      if (buffer == nullptr) return;
      fold_(buffer->bytes());
    }
  }

  const std::function<void(std::span<const std::byte>)> fold_;
  Mutex mu_;
  CondVar wake_;
  std::deque<BufferPool::Shared> queue_ GUARDED_BY(mu_);
  std::thread thread_;
};

Files& FilesOf(const HashOptions& options) { return options.files != nullptr ? *options.files : RealFiles(); }

Error ChangedWhileRead(const std::string& name) {
  return {Code::kAborted, name + ": changed while it was read; try again when nobody writes to it"};
}

Error Stopped(const std::string& name) { return {Code::kCancelled, name + ": hashing it was stopped"}; }

HashedFile Assemble(const Digest& blob, const ChunkList& list, std::shared_ptr<HashedFile::Large> large) {
  HashedFile hashed;
  hashed.stored.blob = blob;
  large->chunk_list = list.Encode();
  hashed.stored.chunk_list = DigestOf(large->chunk_list);
  large->sums.blob = blob;
  large->sums.chunk_list = *hashed.stored.chunk_list;
  hashed.large = std::move(large);
  return hashed;
}

Result<HashedFile> HashLarge(int fd, const std::string& name, uint64_t size_bytes,
                             const HashOptions& options) {
  Sha256Hasher whole;
  ChunkList list;
  list.blob_bytes = size_bytes;
  auto large = std::make_shared<HashedFile::Large>();
  BufferPool pool;
  {
    Xxh3Hasher sum;
    uint64_t hashed = 0;
    Lane lane(options.parallel, [&](std::span<const std::byte> bytes) {
      whole.Update(bytes);
      sum.Update(bytes);
      hashed += bytes.size();
      if (hashed % kChunkBytes == 0 || hashed == size_bytes) large->sums.chunks.push_back(sum.Finish());
      if (hashed % kChunkBytes == 0 && hashed != size_bytes) list.chunks.push_back(whole.State());
    });
    for (uint64_t offset = 0; offset < size_bytes;) {
      if (options.stop.stop_requested()) return Stopped(name);
      const BufferPool::Shared buffer = pool.Take();
      const uint64_t want = std::min<uint64_t>(kPieceBytes, size_bytes - offset);
      ASSIGN_OR_RETURN(buffer->size_bytes,
                       ReadFully(FilesOf(options), fd, name, offset, buffer->room().first(want)));
      if (buffer->size_bytes != want) return ChangedWhileRead(name);
      lane.Push(buffer);
      if (options.copy != nullptr) RETURN_IF_ERROR(options.copy->Append(buffer->bytes()));
      if (options.on_bytes) options.on_bytes(want);
      offset += want;
    }
    std::array<std::byte, 1> beyond{};
    ASSIGN_OR_RETURN(const size_t more, ReadFully(FilesOf(options), fd, name, size_bytes, beyond));
    if (more != 0) return ChangedWhileRead(name);
  }
  return Assemble(whole.Finish(), list, std::move(large));
}

}  // namespace

// Not value-initialised, so that the unused pages of a small file's buffer are never touched.
ChunkBuffer::ChunkBuffer() : bytes_(new std::byte[kChunkBytes + 1]) {}
std::span<std::byte> ChunkBuffer::span() { return {bytes_.get(), kChunkBytes + 1}; }

Result<size_t> ReadFully(Files& files, int fd, const std::string& name, uint64_t offset_bytes,
                         std::span<std::byte> out) {
  size_t filled = 0;
  while (filled < out.size()) {
    ASSIGN_OR_RETURN(const size_t count, files.ReadAt(fd, name, offset_bytes + filled, out.subspan(filled)));
    if (count == 0) break;
    filled += count;
  }
  return filled;
}

Result<HashedFile> HashDescriptor(int fd, const std::string& name, uint64_t size_bytes,
                                  const HashOptions& options) {
  if (size_bytes > kChunkBytes) return HashLarge(fd, name, size_bytes, options);
  if (options.stop.stop_requested()) return Stopped(name);
  ChunkBuffer buffer;
  const std::span<std::byte> bytes = buffer.span().first(size_bytes + 1);
  ASSIGN_OR_RETURN(const size_t count, ReadFully(FilesOf(options), fd, name, 0, bytes));
  if (count != size_bytes) return ChangedWhileRead(name);
  HashedFile hashed;
  hashed.stored.blob = DigestOf(std::span<const std::byte>(bytes.first(count)));
  if (options.copy != nullptr) RETURN_IF_ERROR(options.copy->Append(bytes.first(count)));
  if (options.on_bytes) options.on_bytes(count);
  return hashed;
}

HashedFile HashBytes(std::span<const std::byte> bytes) {
  if (bytes.size() <= kChunkBytes) {
    return {.stored = {.blob = DigestOf(bytes), .chunk_list = std::nullopt}, .large = nullptr};
  }
  Sha256Hasher whole;
  ChunkList list;
  list.blob_bytes = bytes.size();
  auto large = std::make_shared<HashedFile::Large>();
  for (std::span<const std::byte> rest = bytes; !rest.empty();) {
    const std::span<const std::byte> chunk = rest.first(std::min<uint64_t>(kChunkBytes, rest.size()));
    whole.Update(chunk);
    large->sums.chunks.push_back(Xxh3_128(chunk));
    rest = rest.subspan(chunk.size());
    if (!rest.empty()) list.chunks.push_back(whole.State());
  }
  return Assemble(whole.Finish(), list, std::move(large));
}

}  // namespace modelfs::cas
