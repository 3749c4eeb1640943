// SPDX-License-Identifier: Apache-2.0
// A disk as a device sees it: the top of a node graph, and what the person said about errors and caches.
#pragma once

#include <functional>
#include <string>

#include "block/node.h"
#include "qom/type.h"

namespace emu::block {

/// A disk controller or drive. Calls come on the backend's loop, except where said.
class BlockFrontend {
 public:
  virtual ~BlockFrontend() = default;
  /// The medium has another length now (block_resize).
  virtual void resized() {}
  /// A medium was put in or taken out (blockdev-change-medium, eject). Main loop, machine lock held.
  virtual void medium_changed(bool present) { static_cast<void>(present); }
  /// A person asks for the medium; the guest may have locked the tray. Main loop, machine lock held.
  virtual void eject_requested(bool force) { static_cast<void>(force); }
  virtual bool is_tray_open() const { return false; }
  virtual bool is_medium_locked() const { return false; }
  /// A drive whose medium comes and goes: CD-ROM, floppy.
  virtual bool is_removable() const { return false; }
  /// The device's id, or its path when it has none: what QMP commands take as `id` and queries show as `qdev`. Empty:
  /// the front end is the device, an object of the tree, which is asked itself.
  virtual std::string device_name() const { return {}; }
};

/// werror= and rerror= of a device; Auto leaves it to -drive.
enum class ErrorWish : u8 { Auto, Report, Ignore, Enospc, Stop };

/// Lent to one front end at a time; lives in the tree at /backend/ID, where `drive=ID` finds it. Requests may come with
/// any offset, length and alignment: what lies outside the medium is refused (EIO), what is not aligned goes through a
/// bounce buffer. Failed requests follow werror= and rerror= here: with "stop" the task waits, the machine is stopped
/// with BLOCK_IO_ERROR, and the request is made again when it goes on.
class BlockBackend : public qom::Object {
 public:
  static constexpr const char* kTypeName = "block-backend";
  /// Where `.link<BlockBackend>` properties look for an id.
  static constexpr const char* kContainer = "/backend";

  virtual Result<void> attach(BlockFrontend& frontend) = 0;
  /// After the front end's last request is done.
  virtual void detach(BlockFrontend& frontend) = 0;

  /// Whether there is a medium; without one all requests fail with ENOMEDIUM and bytes() is 0.
  virtual bool has_medium() const = 0;
  virtual u64 bytes() const = 0;
  virtual bool is_read_only() const = 0;
  /// cache=: whether the guest is told of a write cache, and may turn it off (then each write is Fua).
  virtual bool has_write_cache() const = 0;
  virtual void set_write_cache(bool enabled) = 0;
  /// The guest opened or closed the tray.
  virtual void tray_moved(bool open) { static_cast<void>(open); }
  virtual bool can_discard() const = 0;
  virtual BlockLimits limits() const = 0;
  virtual std::string filename() const = 0;
  /// Where requests are made and end.
  virtual EventLoop& loop() const = 0;
  /// Moves the graph to an I/O thread, or back. Nothing is under way. Main loop, machine lock held.
  virtual Result<void> move_to(EventLoop& loop) = 0;

  /// Whether requests that follow upon each other may be made as one: not where an error of one is to be ignored, lest
  /// the others go with it.
  virtual bool may_join(bool is_write) const {
    static_cast<void>(is_write);
    return true;
  }
  /// So many further requests of the guest's were part of the last one. For statistics.
  virtual void joined(bool is_write, u64 requests) {
    static_cast<void>(is_write);
    static_cast<void>(requests);
  }

  virtual Task<IoStatus> read(u64 offset, IoVec to) = 0;
  virtual Task<IoStatus> write(u64 offset, IoVec from, IoFlags flags = IoFlags::None) = 0;
  virtual Task<IoStatus> write_zeroes(u64 offset, u64 length, IoFlags flags = IoFlags::None) = 0;
  virtual Task<IoStatus> discard(u64 offset, u64 length) = 0;
  virtual Task<IoStatus> flush() = 0;
};

}  // namespace emu::block
