// An engine that passes each call on to another one: a test overrides the calls that it watches or fails.
#pragma once

#include <memory>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "store/kv/kv.h"

namespace modelfs::store {

class ForwardingKv : public Kv {
 public:
  explicit ForwardingKv(Kv& below) : below_(below) {}

  Result<std::unique_ptr<Snapshot>> Read() override { return below_.Read(); }
  Result<Revision> Commit(const KvTransaction& transaction) override { return below_.Commit(transaction); }
  Patience NewPatience(std::stop_token stop) const override { return below_.NewPatience(std::move(stop)); }
  Error Busy() const override { return below_.Busy(); }
  Status DeleteKeys(const std::vector<std::string>& keys) override { return below_.DeleteKeys(keys); }
  Result<std::vector<LogEntry>> ReadLog(Revision after, size_t limit) override {
    return below_.ReadLog(after, limit);
  }
  Status TrimLog(Revision through) override { return below_.TrimLog(through); }
  Maintenance* maintenance() override { return below_.maintenance(); }
  void WaitForCommit(Revision after, const Deadline& deadline, const std::stop_token& stop) override {
    below_.WaitForCommit(after, deadline, stop);
  }

 protected:
  Kv& below_;
};

}  // namespace modelfs::store
