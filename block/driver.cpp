// SPDX-License-Identifier: Apache-2.0
#include "block/driver.h"

#include <algorithm>
#include <cstring>
#include <filesystem>

#include "block/graph.h"
#include "block/qcow2/driver.h"
#include "util/check.h"

namespace emu::block {

void DriverRegistry::add(Driver driver) {
  EMU_CHECK(driver.open && !drivers_.contains(driver.name));
  std::string name = driver.name;
  drivers_.emplace(std::move(name), std::move(driver));
}

const Driver* DriverRegistry::find(std::string_view name) const {
  const auto found = drivers_.find(name);
  return found == drivers_.end() ? nullptr : &found->second;
}

std::vector<std::string> DriverRegistry::names() const {
  std::vector<std::string> names;
  for (const auto& entry : drivers_) names.push_back(entry.first);
  return names;
}

std::string DriverRegistry::probe(std::span<const u8> first) const {
  std::string best = "raw";
  int surest = 0;
  for (const auto& [name, driver] : drivers_) {
    if (!driver.is_format || !driver.probe) continue;
    const int sure = driver.probe(first);
    if (sure > surest) {
      surest = sure;
      best = name;
    }
  }
  return best;
}

std::string_view foreign_format(std::span<const u8> first) {
  struct Magic {
    std::string_view format;
    std::size_t offset;
    std::string_view bytes;
  };
  constexpr Magic kMagics[] = {{"vmdk", 0, "KDMV"},
                               {"vmdk", 0, "COWD"},
                               {"vmdk", 0, "# Disk DescriptorFile"},
                               {"vdi", 0x40, "\x7f\x10\xda\xbe"},
                               {"vhdx", 0, "vhdxfile"},
                               {"vpc", 0, "conectix"},
                               {"qed", 0, {"QED\0", 4}},
                               {"luks", 0, "LUKS\xba\xbe"},
                               {"parallels", 0, "WithoutFreeSpace"},
                               {"parallels", 0, "WithouFreSpacExt"}};
  for (const auto& [format, offset, bytes] : kMagics) {
    if (first.size() < offset + bytes.size()) continue;
    if (std::memcmp(first.data() + offset, bytes.data(), bytes.size()) == 0) return format;
  }
  return {};
}

std::string filename_beside(const std::string& beside, const std::string& filename) {
  const auto colon = filename.find(':');
  const bool has_protocol = colon != std::string::npos && colon < filename.find('/');
  if (filename.empty() || filename.front() == '/' || has_protocol) return filename;
  const auto slash = beside.rfind('/');
  return slash == std::string::npos ? filename : beside.substr(0, slash + 1) + filename;
}

void register_block_drivers(DriverRegistry& drivers, qcow2::CorruptionListener listener) {
  register_file_drivers(drivers);
  register_null_drivers(drivers);
  register_raw_driver(drivers);
  register_qcow2_driver(drivers, std::move(listener));
  register_throttle_driver(drivers);
  register_copy_on_read_driver(drivers);
  register_blkdebug_driver(drivers);
  register_temporary_driver(drivers);
}

namespace {

/// "null" or "" for a backing child: the user says that there is none.
bool says_none(const std::string& role, const std::string& value) {
  return role == "backing" && (value.empty() || value == "null");
}

/// Takes the keys below "role." and gives them without it.
Options take_below(Options& options, const std::string& role) {
  Options below;
  const std::string prefix = role + ".";
  for (const auto& [key, value] : options.pairs()) {
    if (!key.starts_with(prefix)) continue;
    below.set(key.substr(prefix.size()), value);
    options.take(key);
  }
  return below;
}

/// Whether one of the images that are being opened right now lies in this file: its node is there, and nobody's yet.
bool is_being_opened(const NodeGraph& graph, const std::string& filename) {
  return std::ranges::any_of(graph.nodes(), [&](const NodeRef& node) {
    std::error_code failed;
    return node->children().empty() && !graph.is_used(*node) && !graph.is_owned(*node) &&
           std::filesystem::equivalent(node->filename(), filename, failed) && !failed;
  });
}

/// What a child does unless it is told otherwise.
NodeSettings inherited_by(const NodeSettings& parent, const std::string& role) {
  NodeSettings settings = parent;
  settings.name.clear();
  settings.detect_zeroes = DetectZeroes::Off;
  if (role == "backing") {
    settings.read_only = true;
    settings.auto_read_only = false;
  }
  return settings;
}

}  // namespace

Task<Result<NodeRef>> OpenContext::open_child(Options& options, std::string role) {
  Implied nothing;
  std::string nowhere;
  auto child = co_await open_child(options, std::move(role), std::move(nothing), std::move(nowhere));
  co_return child;
}

Task<Result<NodeRef>> OpenContext::open_child(Options& options, std::string role, Implied implied,
                                              std::string beside) {
  const bool is_file = role == "file";
  const auto reference = options.take(role);
  Options below = take_below(options, role);
  if (reference) {
    if (says_none(role, *reference)) co_return NodeRef();
    if (!below.empty()) co_return error("'{}' names a node and '{}.*' describes another", role, role);
    NodeRef found = graph.find(*reference);
    if (!found) co_return error("Cannot find device='{}' nor node-name='{}'", *reference, *reference);
    if (reads_while_opening && &found->loop() != &loop) {
      co_return error("node '{}' works on an I/O thread: an image in it cannot be opened now", found->name());
    }
    opened.push_back(found);
    co_return found;
  }
  // The header's image counts as long as the user names no other.
  const bool names_one = below.has("filename") || below.has("driver") || below.has("file") ||
                         below.has("file.driver") || below.has("file.filename");
  if (is_file && below.empty()) {
    if (const auto filename = options.take("filename")) below.set("filename", *filename);
  } else if (!names_one && !implied.filename.empty()) {
    const std::string filename = filename_beside(beside, implied.filename);
    if (role == "backing" && is_being_opened(graph, filename)) {
      co_return error(Error(fmt::format("Backing file '{}' creates an infinite loop", implied.filename))
                          .with_hint("qemu-img rebase -u names another backing file"));
    }
    below.set("filename", filename);
    if (!implied.driver.empty()) below.set("driver", implied.driver);
  }
  if (below.empty()) co_return NodeRef();
  NodeSettings inherited = inherited_by(settings, role);
  auto child = co_await graph.open_node(std::move(below), std::move(inherited), !is_file);
  if (!child) co_return error(std::move(child).error());
  opened.push_back(*child);
  co_return *child;
}

Task<Result<NodeRef>> OpenContext::open_file(Options& options) {
  std::string role = "file";
  auto file = co_await open_child(options, std::move(role));
  EMU_CO_TRY(file);
  if (!*file) co_return error("A block device must be specified for \"file\"");
  if (!settings.read_only && (*file)->is_read_only()) {
    if (!settings.auto_read_only) {
      co_return error("node '{}' is read-only: the node above it must be, too (read-only=on)", (*file)->name());
    }
    settings.read_only = true;
  }
  co_return *file;
}

}  // namespace emu::block
