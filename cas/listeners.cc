#include "cas/listeners.h"

#include <cstddef>
#include <cstdint>
#include <map>
#include <utility>

#include "cas/base/thread.h"

namespace modelfs::cas {

struct Listeners::State {
  using Table = std::map<uint64_t, std::function<void(const Digest&)>>;

  Mutex mu;
  CondVar idle;
  Table table GUARDED_BY(mu);
  uint64_t last_id GUARDED_BY(mu) = 0;
  size_t calls GUARDED_BY(mu) = 0;  // under way

  void Remove(uint64_t id) {
    const MutexLock lock(mu);
    table.erase(id);
    while (calls > 0) idle.Wait(mu);
  }
};

Listeners::Listeners() : state_(std::make_shared<State>()) {}

Subscription Listeners::Add(std::function<void(const Digest&)> listener) {
  const MutexLock lock(state_->mu);
  const uint64_t id = ++state_->last_id;
  state_->table.emplace(id, std::move(listener));
  return Subscription(state_.get(), [state = state_, id](void*) { state->Remove(id); });
}

void Listeners::Call(const Digest& digest) {
  State::Table table;
  {
    const MutexLock lock(state_->mu);
    table = state_->table;
    ++state_->calls;
  }
  for (const auto& listener : table) listener.second(digest);
  const MutexLock lock(state_->mu);
  --state_->calls;
  state_->idle.NotifyAll();
}

}  // namespace modelfs::cas
