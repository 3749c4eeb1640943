// SPDX-License-Identifier: Apache-2.0
// A node of the block graph: a protocol (file), a format (qcow2), or a filter (throttle).
#pragma once

#include <sys/uio.h>

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "util/event_loop.h"
#include "util/result.h"
#include "util/task.h"
#include "util/types.h"

namespace emu::block {

/// 0, or the Linux errno a request failed with. A number, not an Error: requests are a hot path and guests see codes.
using IoStatus = int;
/// Buffers of one request, in order; lent until the request is done.
using IoVec = std::span<const iovec>;

u64 total_bytes(IoVec parts);

enum class IoFlags : u8 {
  None = 0,
  Fua = 1,         ///< write, write_zeroes: on stable storage before it is done
  MayUnmap = 2,    ///< write_zeroes: may give the space back to the host
  NoFallback = 4,  ///< write_zeroes: ENOTSUP rather than writing zeroes byte by byte
};
constexpr IoFlags operator|(IoFlags a, IoFlags b) { return IoFlags(u8(a) | u8(b)); }
constexpr bool has(IoFlags flags, IoFlags one) { return (u8(flags) & u8(one)) != 0; }

/// What callers must or should heed; bytes.
struct BlockLimits {
  u32 request_alignment = 1;  ///< of offsets and lengths of reads and writes; a power of two. BlockBackend sees to it
  u32 memory_alignment = 1;   ///< of buffers (direct I/O)
  u32 cluster = 0;            ///< 0: none. The unit a format allocates in
  u64 max_transfer = 1u << 30;
};

/// One stretch of a node, as status() answers.
struct Extent {
  u64 bytes = 0;            ///< from the offset asked for; 0 only at the end
  bool data = false;        ///< has to be read to know what it holds
  bool zero = false;        ///< reads as zeroes
  bool allocated = false;   ///< decided by this node, not by its backing one
  bool compressed = false;
  std::optional<u64> host_offset;  ///< where it lies, as it is, in the `file` child
};

class Node;
using NodeRef = std::shared_ptr<Node>;

/// One edge down: the name says what for ("file", "backing", "data-file").
struct Child {
  std::string role;
  NodeRef node;
};

/// What may be done with a node; the numbers are the bytes of QEMU's image locks (file_locks.h).
enum class Perm : u8 {
  None = 0,
  ConsistentRead = 1,
  Write = 2,
  WriteUnchanged = 4,  ///< writes that change nothing a reader could see, as copy-on-read does
  Resize = 8,
  All = 15,
};
constexpr Perm operator|(Perm a, Perm b) { return Perm(u8(a) | u8(b)); }
constexpr Perm operator&(Perm a, Perm b) { return Perm(u8(a) & u8(b)); }
constexpr Perm operator~(Perm a) { return Perm(~u8(a) & u8(Perm::All)); }
constexpr bool any(Perm perms) { return perms != Perm::None; }

/// What a user of a node does with it, and what it lets others do meanwhile.
struct Access {
  Perm uses = Perm::None;
  Perm shares = Perm::All;
  bool operator==(const Access&) const = default;
};
/// What a format needs of the file it alone keeps its metadata in.
Access storage_access(Access own, bool read_only);
/// What an overlay needs of the image behind it: that nobody changes it.
Access backing_access(Access own);

enum class Preallocation : u8 { Off, Metadata, Falloc, Full };

/// All requests are made and end on the thread of loop(); several are under way at once, in no order but what
/// awaiting gives. Offsets and lengths lie inside bytes() (BlockBackend and formats check) and heed limits(); where
/// bytes() ends inside a block of limits(), that block is read and written whole, and reads as zeroes behind the end.
/// Nodes are opened by the graph (graph.h), and closed by it: close() ends what is under way, and says what failed.
class Node : public std::enable_shared_from_this<Node> {
 public:
  virtual ~Node() = default;
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  /// "qcow2": blockdev-add's `driver`.
  virtual std::string_view driver() const = 0;
  /// The user's node-name, or "#block123" of the graph.
  const std::string& name() const { return name_; }
  /// A file name a person knows it by; for messages, `info block` and query-block.
  virtual std::string filename() const = 0;
  EventLoop& loop() const { return *loop_; }
  bool is_read_only() const { return read_only_; }
  virtual std::vector<Child> children() const { return {}; }

  /// Length of what it shows. Changes by truncate() only.
  virtual u64 bytes() const = 0;
  virtual BlockLimits limits() const { return {}; }

  virtual Task<IoStatus> read(u64 offset, IoVec to) = 0;
  virtual Task<IoStatus> write(u64 offset, IoVec from, IoFlags flags) = 0;
  virtual Task<IoStatus> write_zeroes(u64 offset, u64 length, IoFlags flags) = 0;
  /// A hint; what was discarded reads as anything (here: zeroes or the old data).
  virtual Task<IoStatus> discard(u64 offset, u64 length) = 0;
  /// What was written before is on stable storage when this is done.
  virtual Task<IoStatus> flush() = 0;
  /// What is known of the stretch from `offset`, at most `length` bytes of it.
  virtual Task<Result<Extent>> status(u64 offset, u64 length) = 0;
  /// Errors: cannot grow or shrink, no space.
  virtual Task<Result<void>> truncate(u64 bytes, Preallocation preallocation) = 0;

  /// Metadata out to the file, marks cleared. Nothing is under way when it is called; nothing comes after it.
  virtual Task<Result<void>> close() { co_return Result<void>(); }
  /// The same node, read-only from now on or no longer (blockdev-reopen, auto-read-only).
  virtual Task<Result<void>> set_read_only(bool read_only);

  // For the graph, on the main loop.

  /// What it does with a child while its own users do `own` with it. As it stands: a filter over all children but
  /// "backing". Formats say storage_access() for what holds their metadata.
  virtual Access child_access(std::string_view role, Access own) const;
  /// Its users together now do this; the file takes its locks here. An error leaves things as they were.
  virtual Result<void> access_changed(Access access);
  /// Puts another node in the place of a child (never null). Nothing is under way.
  virtual Result<void> replace_child(std::string_view role, NodeRef node);
  /// Requests are made on this loop from now on; the graph tells each node once. Nothing is under way.
  virtual void change_loop(EventLoop& loop) { loop_ = &loop; }
  /// Somebody waits until no request is under way, or no longer does: what is held back goes on at once. Any thread.
  virtual void drained_changed(bool drained) { static_cast<void>(drained); }

 protected:
  Node(EventLoop& loop, std::string name, bool read_only)
      : loop_(&loop), name_(std::move(name)), read_only_(read_only) {}
  void change_read_only(bool read_only) { read_only_ = read_only; }

 private:
  EventLoop* loop_;
  const std::string name_;
  bool read_only_;
};

}  // namespace emu::block
