// SPDX-License-Identifier: Apache-2.0
#include "block/img/tool.h"

#include <fcntl.h>
#include <getopt.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "block/img/img.h"
#include "util/fd.h"
#include "util/string.h"

namespace emu::block::img {

Result<Arguments> Arguments::parse(const std::vector<std::string>& words, const std::string& letters,
                                   const std::vector<std::string>& longs) {
  Arguments result;
  std::vector<std::string> copies = words;
  copies.insert(copies.begin(), "system-emu-img");
  std::vector<char*> argv;
  for (std::string& word : copies) argv.push_back(word.data());
  argv.push_back(nullptr);
  std::vector<std::string> names;
  for (const std::string& name : longs) names.push_back(name.ends_with('=') ? name.substr(0, name.size() - 1) : name);
  std::vector<option> table;
  constexpr int kFirstLong = 1000;
  for (std::size_t i = 0; i < longs.size(); ++i) {
    table.push_back({names[i].c_str(), longs[i].ends_with('=') ? required_argument : no_argument, nullptr,
                     kFirstLong + int(i)});
  }
  table.push_back({});
  const std::string spec = ":" + letters;
  ::opterr = 0;
  ::optind = 0;  // starts anew
  for (;;) {
    const int c = ::getopt_long(int(copies.size()), argv.data(), spec.c_str(), table.data(), nullptr);
    if (c == -1) break;
    if (c == ':') return error("missing argument for option '{}'", argv[::optind - 1]);
    if (c == '?') return error("unrecognized option '{}'", argv[::optind - 1]);
    const std::string name = c >= kFirstLong ? names[std::size_t(c - kFirstLong)] : std::string(1, char(c));
    result.values_[name].push_back(::optarg ? ::optarg : "");
  }
  for (int i = ::optind; i < int(copies.size()); ++i) result.rest_.push_back(copies[std::size_t(i)]);
  return result;
}

Tool::Tool(std::string program) : program_(std::move(program)), graph_(loop_, drivers_) {
  register_block_drivers(drivers_);
}

Tool::~Tool() {
  while (!open_.empty()) {
    const Result<void> closed = close(open_.back());
    if (!closed) fail(closed.error());
  }
}

int Tool::fail(const std::string& message, int status) const {
  fmt::print(stderr, "{}: {}\n", program_, message);
  return status;
}

void Tool::warn(const std::string& message) const { fmt::print(stderr, "{}: warning: {}\n", program_, message); }

namespace {
bool begins_as_qcow2(const std::string& filename) {
  const Fd fd(::open(filename.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  u8 first[8] = {};
  return fd && ::pread(fd.get(), first, sizeof first, 0) == sizeof first && qcow2::looks_like_qcow2(first);
}
}  // namespace

Result<NodeRef> Tool::open(const Open& what) {
  Options options;
  if (what.image_opts) {
    options = EMU_TRY(Options::parse(what.filename));
  } else {
    options.set("filename", what.filename);
    if (!what.format.empty()) options.set("driver", what.format);
  }
  const bool writes = what.writable == Writable::Yes;
  if (!writes) options.set("read-only", "on");
  if (what.force_share) options.set("force-share", "on");
  if (what.no_flush) options.set("cache.no-flush", "on");
  if (what.direct) options.set("cache.direct", "on");
  if (what.unmap) options.set("discard", "unmap");
  if (what.without_backing && (what.format == "qcow2" || (what.format.empty() && begins_as_qcow2(what.filename)))) {
    options.set("backing", "null");
  }
  Result<NodeRef> node = run(graph_.open(std::move(options)));
  if (!node) {
    const std::string& said = node.error().message();
    const std::string opening = "Could not open '" + what.filename + "'";
    if (said.starts_with("Could not open '" + what.filename)) return error(std::move(node).error());
    if (said.starts_with("'" + what.filename + "': ")) {  // named already
      return error("{}", "Could not open " + said);
    }
    return error(std::move(node).error().within(opening));
  }
  const Perm uses = Perm::ConsistentRead | (writes ? Perm::Write | Perm::Resize : Perm::None);
  const Result<void> ours = graph_.attach(*node, *this, {.uses = uses, .shares = Perm::All});
  if (!ours) {
    static_cast<void>(run(graph_.release(*node)));
    return error(Error(ours.error()).within("Could not open '" + what.filename + "'"));
  }
  open_.push_back(*node);
  return *node;
}

Result<NodeRef> Tool::open_new_file(const std::string& filename) {
  const Fd fd(::open(filename.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
  if (!fd) return error("{}: Could not create '{}': {}", filename, filename, std::strerror(errno));
  return open({.filename = filename, .format = "file", .writable = Writable::Yes});
}

Result<void> Tool::close(NodeRef node) {
  std::erase(open_, node);
  const Result<void> detached = run(graph_.detach(node, *this));
  const Result<void> released = run(graph_.release(node));
  if (!detached) return detached;
  return released;
}

NodeRef child_of(const NodeRef& node, std::string_view role) {
  for (const Child& child : node->children()) {
    if (child.role == role) return child.node;
  }
  return nullptr;
}

qcow2::Image* as_qcow2(const NodeRef& node) { return dynamic_cast<qcow2::Image*>(node.get()); }

std::string human_size(u64 bytes) {
  static constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  double value = double(bytes);
  std::size_t unit = 0;
  for (; value >= 1000 && unit + 1 < std::size(kUnits); ++unit) value /= 1024;
  return fmt::format("{:.3g} {}", value, kUnits[unit]);
}

Task<Result<ChainExtent>> chain_status(const NodeRef& top, u64 offset, u64 length) {
  ChainExtent result;
  result.node = top;
  for (;;) {
    if (offset >= result.node->bytes()) {  // a short image behind another: nobody has anything here
      result.bytes = length;
      result.extent = {.bytes = length, .data = false, .zero = true, .allocated = false};
      if (result.depth != 0) --result.depth;
      co_return result;
    }
    Result<Extent> extent = co_await result.node->status(offset, std::min(length, result.node->bytes() - offset));
    EMU_CO_TRY(extent);
    length = extent->bytes;
    result.bytes = length;
    result.extent = *extent;
    NodeRef below = child_of(result.node, "backing");
    if (extent->allocated || !below) co_return result;
    result.node = std::move(below);
    ++result.depth;
  }
}

Result<u64> parse_length(std::string_view text) {
  const auto bytes = parse_size(text);
  if (bytes && *bytes <= u64(INT64_MAX) - 511) return *bytes;
  return error("Invalid image size specified! You may use k, M, G, T, P or E suffixes for kilobytes, megabytes, "
               "gigabytes, terabytes, petabytes and exabytes.");
}

bool is_same_file(const std::string& a, const std::string& b) {
  std::error_code failed;
  return std::filesystem::equivalent(a, b, failed) && !failed;
}

Result<Preallocation> parse_preallocation(const std::string& text) {
  if (text == "off") return Preallocation::Off;
  if (text == "metadata") return Preallocation::Metadata;
  if (text == "falloc") return Preallocation::Falloc;
  if (text == "full") return Preallocation::Full;
  return error("Invalid parameter '{}' for preallocation: off, metadata, falloc or full", text);
}

// ---- the program ----

namespace {

struct Command {
  const char* name;
  const char* usage;
  int (*run)(Tool&, const std::vector<std::string>&);
};
constexpr Command kCommands[] = {
    {"check", "check [--output=human|json] [-f FMT] [-q] [-r leaks|all] [-U] FILENAME", check_command},
    {"compare", "compare [-f FMT] [-F FMT] [-p] [-q] [-s] [-U] FILENAME1 FILENAME2", compare_command},
    {"convert", "convert [-c] [-p] [-q] [-n] [-U] [-f FMT] [-O FMT] [-B BACKING [-F FMT]] [-o OPTIONS] [-S SIZE] "
                "[-t CACHE] [-T CACHE] SOURCE TARGET", convert_command},
    {"create", "create [-q] [-f FMT] [-b BACKING [-F FMT]] [-u] [-o OPTIONS] FILENAME [SIZE]", create_command},
    {"info", "info [--output=human|json] [--backing-chain] [-f FMT] [-U] FILENAME", info_command},
    {"map", "map [--output=human|json] [-f FMT] [--start-offset=N] [--max-length=N] [-U] FILENAME", map_command},
    {"resize", "resize [-q] [--shrink] [--preallocation=MODE] [-f FMT] FILENAME [+|-]SIZE", resize_command},
};
constexpr const char* kNotThere[] = {"amend", "bench", "bitmap", "commit", "dd", "measure", "rebase", "snapshot"};

void print_help() {
  fmt::print("system-emu-img (compatible with qemu-img 7.2)\nusage: system-emu-img COMMAND [OPTIONS]\n\nCommands:\n");
  for (const Command& command : kCommands) fmt::print("  {}\n", command.usage);
  fmt::print("\nFormats: raw, qcow2. Sizes take the suffixes k, M, G, T, P and E.\n");
}

}  // namespace

bool is_tool_name(const std::string& argv0) {
  const std::string name = argv0.substr(argv0.rfind('/') + 1);
  return name == "system-emu-img" || name == "qemu-img";
}

int run(const std::vector<std::string>& arguments) {
  const std::string path = arguments.empty() ? "system-emu-img" : arguments[0];
  Tool tool(path.substr(path.rfind('/') + 1));
  if (arguments.size() < 2) {
    return tool.fail("Not enough arguments\nTry '" + tool.program() + " --help' for more information");
  }
  const std::string& name = arguments[1];
  if (name == "--help" || name == "-h") {
    print_help();
    return 0;
  }
  if (name == "--version" || name == "-V") {
    fmt::print("system-emu-img (compatible with qemu-img 7.2.0)\n");
    return 0;
  }
  const std::vector<std::string> words(arguments.begin() + 2, arguments.end());
  for (const Command& command : kCommands) {
    if (name != command.name) continue;
    for (const std::string& word : words) {
      if (word != "--help" && word != "-h") continue;
      fmt::print("usage: system-emu-img {}\n", command.usage);
      return 0;
    }
    return command.run(tool, words);
  }
  for (const char* const other : kNotThere) {
    if (name == other) return tool.fail("the command '" + name + "' is not there yet");
  }
  return tool.fail("Command not found: " + name + "\nTry '" + tool.program() + " --help' for more information");
}

}  // namespace emu::block::img
