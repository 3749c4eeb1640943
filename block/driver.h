// SPDX-License-Identifier: Apache-2.0
// The table of block drivers, and what a driver is given to open a node.
#pragma once

#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "block/node.h"
#include "util/options.h"

namespace emu::block {

class NodeGraph;

enum class DetectZeroes : u8 { Off, On, Unmap };

/// What blockdev-add says about any node. Children inherit what they do not say themselves.
struct NodeSettings {
  std::string name;
  bool read_only = false;
  bool auto_read_only = false;  ///< read-only rather than an error, when it cannot be written
  bool direct = false;          ///< cache.direct
  bool no_flush = false;        ///< cache.no-flush
  bool unmap = false;           ///< discard=unmap
  bool force_share = false;     ///< others may write meanwhile
  DetectZeroes detect_zeroes = DetectZeroes::Off;
};

/// Lent to Driver::open. Make the node with `loop`, `settings.name` and `settings.read_only`; over a child that works
/// on an I/O thread it moves there.
struct OpenContext {
  NodeGraph& graph;
  EventLoop& loop;
  NodeSettings settings;  ///< the driver may set read_only where auto_read_only lets it
  bool reads_while_opening = false;  ///< the driver's word, before its children: they have to be on the main loop
  std::vector<NodeRef> opened = {};  ///< children so far; closed again when the driver fails

  /// An image named in a header rather than by the user.
  struct Implied {
    std::string filename;
    std::string driver = {};  ///< empty: probed
  };
  /// The child that `role=NAME`, `role.driver=...` or (for "file") `filename=` describe; takes those keys. Null when
  /// nothing does, or the user says there is none (`backing=null`). A "file" child is a protocol, others are formats.
  Task<Result<NodeRef>> open_child(Options& options, std::string role);
  /// The same where the header names an image that counts when the user does not; it is looked for beside `beside`.
  Task<Result<NodeRef>> open_child(Options& options, std::string role, Implied implied, std::string beside);
  /// open_child(options, "file"), which must be there; settings.read_only follows it where auto-read-only lets it.
  Task<Result<NodeRef>> open_file(Options& options);
};

struct Driver {
  std::string name;
  bool is_format = false;    ///< may be asked to probe, and stands over a "file" child
  bool is_protocol = false;  ///< opens a file name
  bool is_filter = false;
  /// Takes what keys it knows, and calls options.finish() before it makes anything. `context` outlives the task.
  std::function<Task<Result<NodeRef>>(OpenContext& context, Options options)> open;
  /// How sure it is that a file with these first bytes is its own: 0 not at all, 100 by its magic. Hostile bytes.
  std::function<int(std::span<const u8> first)> probe = {};
};

class DriverRegistry {
 public:
  void add(Driver driver);
  const Driver* find(std::string_view name) const;
  std::vector<std::string> names() const;
  /// The format that is surest; "raw" when none is.
  std::string probe(std::span<const u8> first) const;

 private:
  std::map<std::string, Driver, std::less<>> drivers_;
};

/// What to do about images of other formats; a hint.
constexpr const char* kConvertHint = "formats are raw and qcow2; 'qemu-img convert -O qcow2' makes one of most others";
/// The name of a format that no driver here knows, by its magic: "vmdk". Empty: none of those.
std::string_view foreign_format(std::span<const u8> first);

/// Bytes that probes are shown.
constexpr std::size_t kProbeBytes = 2048;

void register_file_drivers(DriverRegistry& drivers);
void register_null_drivers(DriverRegistry& drivers);
void register_raw_driver(DriverRegistry& drivers);
void register_throttle_driver(DriverRegistry& drivers);
void register_copy_on_read_driver(DriverRegistry& drivers);
void register_blkdebug_driver(DriverRegistry& drivers);
void register_temporary_driver(DriverRegistry& drivers);
namespace qcow2 {
struct Corruption;
/// Hears what BLOCK_IMAGE_CORRUPTED tells, on the node's loop.
using CorruptionListener = std::function<void(const std::string& node_name, const Corruption& corruption)>;
}  // namespace qcow2
/// All of them.
void register_block_drivers(DriverRegistry& drivers, qcow2::CorruptionListener listener = {});

/// A file name beside another one: absolute names and "protocol:" ones are kept.
std::string filename_beside(const std::string& beside, const std::string& filename);

}  // namespace emu::block
