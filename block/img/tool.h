// SPDX-License-Identifier: Apache-2.0
// What the commands of system-emu-img share: arguments, opened images, messages.
#pragma once

#include <fmt/format.h>

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "block/driver.h"
#include "block/graph.h"
#include "block/qcow2/image.h"
#include "util/event_loop.h"

namespace emu::block::img {

/// Options with one letter or a long name, and the rest.
class Arguments {
 public:
  /// `letters`: as for getopt, "f:q". `longs`: "output=" takes a value, "shrink" does not, "object=o" stands for
  /// a letter.
  static Result<Arguments> parse(const std::vector<std::string>& words, const std::string& letters,
                                 const std::vector<std::string>& longs);
  bool has(const std::string& name) const { return values_.contains(name); }
  std::optional<std::string> get(const std::string& name) const {
    const auto it = values_.find(name);
    return it == values_.end() ? std::nullopt : std::optional(it->second.back());
  }
  std::vector<std::string> all(const std::string& name) const {
    const auto it = values_.find(name);
    return it == values_.end() ? std::vector<std::string>() : it->second;
  }
  const std::vector<std::string>& rest() const { return rest_; }

 private:
  std::map<std::string, std::vector<std::string>> values_;
  std::vector<std::string> rest_;
};

enum class Writable : u8 { No, Yes };

class Tool final : public GraphUser {
 public:
  explicit Tool(std::string program);
  ~Tool() override;

  EventLoop& loop() { return loop_; }
  NodeGraph& graph() { return graph_; }
  template <typename T>
  T run(Task<T> task) {
    return run_sync(loop_, std::move(task));
  }

  struct Open {
    std::string filename;
    std::string format = {};  ///< empty: probed
    Writable writable = Writable::No;
    bool force_share = false;
    bool image_opts = false;  ///< the file name is a list of options
    bool no_flush = false;
    bool direct = false;
    bool unmap = false;
    bool without_backing = false;
  };
  /// Errors say "Could not open 'x': ...".
  Result<NodeRef> open(const Open& what);
  /// The file alone, made if it is not there.
  Result<NodeRef> open_new_file(const std::string& filename);
  Result<void> close(NodeRef node);

  /// To standard error, with the program's name in front; gives `status` back.
  int fail(const std::string& message, int status = 1) const;
  int fail(const Error& error, int status = 1) const { return fail(error.text(), status); }
  void warn(const std::string& message) const;
  const std::string& program() const { return program_; }

  std::string user_name() const override { return program_; }
  Task<void> drain_begin() override { co_return; }
  void drain_end() override {}

 private:
  std::string program_;
  EventLoop loop_;
  DriverRegistry drivers_;
  NodeGraph graph_;
  std::vector<NodeRef> open_;
};

/// The image that a graph node is, past filters: null if it is not qcow2.
qcow2::Image* as_qcow2(const NodeRef& node);
NodeRef child_of(const NodeRef& node, std::string_view role);

/// "1.5 MiB".
std::string human_size(u64 bytes);

/// A stretch of a chain of images: who decides what it holds.
struct ChainExtent {
  u64 bytes = 0;
  unsigned depth = 0;
  NodeRef node;
  Extent extent;
};
/// From `offset` at most `length` bytes. `top` outlives the task.
Task<Result<ChainExtent>> chain_status(const NodeRef& top, u64 offset, u64 length);

/// A length that a disk can have. Errors: what a person calls it is none, or too much.
Result<u64> parse_length(std::string_view text);
/// Whether two names are of one file that is there.
bool is_same_file(const std::string& a, const std::string& b);

Result<Preallocation> parse_preallocation(const std::string& text);

int create_command(Tool& tool, const std::vector<std::string>& words);
int info_command(Tool& tool, const std::vector<std::string>& words);
int check_command(Tool& tool, const std::vector<std::string>& words);
int convert_command(Tool& tool, const std::vector<std::string>& words);
int resize_command(Tool& tool, const std::vector<std::string>& words);
int map_command(Tool& tool, const std::vector<std::string>& words);
int compare_command(Tool& tool, const std::vector<std::string>& words);

/// What `create` and `convert` make.
struct NewImage {
  std::string filename;
  std::string format = "raw";
  std::vector<std::string> options;  ///< of -o
  std::string backing_file;
  std::string backing_format;
  bool backing_unchecked = false;    ///< -u
  std::optional<u64> bytes;
  bool is_quiet = false;
};
Result<void> make_image(Tool& tool, NewImage image);

}  // namespace emu::block::img
