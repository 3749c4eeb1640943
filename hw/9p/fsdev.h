// SPDX-License-Identifier: Apache-2.0
// The host side of shared folders, for virtio-9p: -fsdev.
#pragma once

#include <memory>
#include <string>
#include <thread>

#include "hw/9p/export.h"
#include "qom/type.h"
#include "util/event_loop.h"
#include "util/options.h"
#include "util/thread_pool.h"

namespace emu::hw {

/// Keys of -fsdev and -virtfs without id and those of the device. Errors name the key.
Result<p9::ExportOptions> parse_fsdev(Options& options);

/// A folder and the threads that carry out what guests want of it: one takes requests from the queues, some more wait
/// for the host's disk. At /fsdevs/ID.
class Fsdev final : public qom::Object {
 public:
  static constexpr const char* kContainer = "/fsdevs";
  static constexpr unsigned kThreads = 4;
  static void describe(qom::TypeInfo<Fsdev>& type) { type.doc("Folder of the host that guests may use"); }
  ~Fsdev() override;

  /// Once, before anybody uses it.
  void hold(std::shared_ptr<const p9::Export> folder) { folder_ = std::move(folder); }
  const std::shared_ptr<const p9::Export>& folder() const { return folder_; }

  /// Starts the threads if there are none yet. Machine lock.
  void start();
  /// Of the first thread.
  EventLoop& loop() { return *loop_; }
  /// Runs `work` on another. From the loop's thread.
  void submit(UniqueFunction<void()> work) { pool_->submit(std::move(work)); }

 private:
  std::shared_ptr<const p9::Export> folder_;
  std::unique_ptr<EventLoop> loop_;
  std::unique_ptr<ThreadPool> pool_;
  std::thread thread_;
};

/// Makes /fsdevs/ID. Errors: the id is taken, the folder cannot be used.
Result<void> add_fsdev(qom::ObjectTree& tree, const std::string& id, p9::ExportOptions options);

/// Registers "fsdev".
void register_fsdev(qom::TypeRegistry& registry);

}  // namespace emu::hw
