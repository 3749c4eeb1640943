// SPDX-License-Identifier: Apache-2.0
// -chardev and -serial as typed options.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "util/options.h"
#include "util/result.h"
#include "util/types.h"

namespace emu::chardev {

struct NullOptions {};
struct FileOptions {
  std::string path;
  bool append = false;
  std::string input_path = {};  ///< where input comes from; none when empty
};
struct StdioOptions {
  bool signal = true;  ///< Ctrl-C ends us; otherwise it goes to the guest
};
struct PtyOptions {};
/// A pair of named pipes, PATH.in and PATH.out, or PATH for both.
struct PipeOptions {
  std::string path;
};
/// A serial line of the host.
struct TtyOptions {
  std::string path;
};
struct UdpOptions {
  std::string host = {}, port = {};              ///< where output goes; no host is localhost
  std::string local_host = {}, local_port = {};  ///< where input comes in; no port is any
  enum class Family { Any, V4, V6 } family = Family::Any;
};
struct SocketOptions {
  // One of path, port and fd says which kind it is.
  std::string path = {};  ///< unix
  std::string host = {};  ///< tcp; empty: any address for a server, localhost for a client
  std::string port = {};
  std::optional<u64> fd = {};  ///< inherited, listening or connected
  bool server = false;
  bool wait = true;  ///< server: do not start before somebody has connected
  bool no_delay = false;
  bool telnet = false;         ///< RFC 854 negotiation and escapes around the bytes
  bool abstract = false;       ///< `path` is a name that no file stands for
  bool tight = true;           ///< an abstract name ends where it ends, without zeros up to the longest
  std::optional<u16> last_port = {};  ///< server: from `port` on, the first that is free up to this one
  u64 reconnect_s = 0;         ///< client: tries again after so many seconds; 0: connects once, at start
  enum class Family { Any, V4, V6 } family = Family::Any;
};
struct RingBufferOptions {
  u64 size = 64 * 1024;  ///< a power of two
};

struct ChardevOptions {
  std::string id;
  std::variant<NullOptions, FileOptions, StdioOptions, PtyOptions, SocketOptions, RingBufferOptions, PipeOptions,
               TtyOptions, UdpOptions>
      backend;
  bool mux = false;  ///< several front ends may attach
  std::string logfile = {};
  bool logappend = false;
};

/// The argument of -chardev: "KIND,id=ID,key=value...". Takes all keys. Errors name what is wrong and the nearest
/// valid spelling.
Result<ChardevOptions> parse_chardev(std::string_view text);
Result<ChardevOptions> parse_chardev(Options& options);
/// The text of `-chardev help`.
std::string chardev_help();

/// What a -serial, -parallel, -monitor, -debugcon or -qmp argument names.
struct SerialSpec {
  enum class Kind {
    None,       ///< "none": no device at all
    Reference,  ///< "chardev:ID"
    Inline,     ///< a back end of its own, described here
  };
  Kind kind = Kind::None;
  std::string reference = {};
  ChardevOptions options = {};
  bool with_monitor = false;  ///< "mon:...": a monitor shares it; options.mux is set
};

/// `default_id` names an inline back end ("serial0", "compat_monitor0").
Result<SerialSpec> parse_serial(std::string_view text, std::string default_id);

}  // namespace emu::chardev
