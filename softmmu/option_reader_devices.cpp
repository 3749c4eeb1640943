// SPDX-License-Identifier: Apache-2.0
// Options that name devices, objects, back ends and displays.
#include "softmmu/console.h"
#include "softmmu/objects.h"
#include "softmmu/option_reader.h"
#include "util/string.h"
#include "util/suggest.h"

namespace emu::softmmu {

Result<void> OptionReader::device(const std::string& text) {
  if (is_help(text)) {
    ask(HelpTopic::Device);
    return {};
  }
  DeviceRequest request = EMU_TRY(parse_device(text));
  if (is_help(request.driver)) {
    ask(HelpTopic::Device);
    return {};
  }
  for (const auto& [key, value] : request.properties) {
    if (!is_help(key)) continue;
    ask(HelpTopic::DeviceProperties, request.driver);
    return {};
  }
  EMU_TRY(claim_id("device", request.id));
  out_.devices.push_back(std::move(request));
  return {};
}

Result<void> OptionReader::global(const std::string& text) {
  GlobalRequest request;
  const std::size_t equals = text.find('=');
  const std::size_t dot = text.rfind('.', equals);
  if (equals != std::string::npos && dot != std::string::npos && dot != 0 && dot + 1 < equals) {
    request = {text.substr(0, dot), text.substr(dot + 1, equals - dot - 1), text.substr(equals + 1)};
  } else {
    Options options = EMU_TRY(Options::parse(text));
    request.driver = EMU_TRY(options.take_required("driver"));
    request.property = EMU_TRY(options.take_required("property"));
    request.value = EMU_TRY(options.take_required("value"));
    EMU_TRY(options.finish());
  }
  out_.globals.push_back(std::move(request));
  return {};
}

Result<void> OptionReader::disk(const GivenOption& given) {
  const std::string option = fmt::format("-{} {}", given.row->name, given.value);
  switch (given.row->opt) {
    case Opt::Drive: {
      DriveRequest request = EMU_TRY(parse_drive(given.value));
      EMU_TRY(claim_id("drive", request.spec.settings.id));
      out_.drives.push_back(std::move(request));
      return {};
    }
    case Opt::Blockdev:
      out_.blockdevs.push_back(EMU_TRY(parse_blockdev(given.value)));
      return {};
    case Opt::HardDisk:  // "hda" to "hdd"
      out_.drives.push_back(drive_of_file(given.value, u64(given.row->name.back() - 'a'), /*is_cdrom=*/false, option));
      return {};
    case Opt::Cdrom:
      out_.drives.push_back(drive_of_file(given.value, 2, /*is_cdrom=*/true, option));
      return {};
    default:
      out_.snapshot = true;
      return {};
  }
}

Result<void> OptionReader::shared_folder(const GivenOption& given) {
  const bool with_device = given.row->opt == Opt::Virtfs;
  FsRequest request = EMU_TRY(with_device ? parse_virtfs_option(given.value) : parse_fsdev_option(given.value));
  EMU_TRY(claim_id("fsdev", request.id));
  if (with_device) {
    out_.devices.push_back(
        {"virtio-9p-pci", "", "", {{"fsdev", request.id}, {"mount_tag", request.mount_tag}}});
  }
  out_.folders.push_back(std::move(request));
  return {};
}

Result<void> OptionReader::object(const std::string& text) {
  Options options = EMU_TRY(Options::parse(text, {.implied_key = "qom-type", .json = json_pairs}));
  const std::string type = options.take("qom-type").value_or("");
  if (is_help(type) || options.asks_help()) {
    ask(HelpTopic::Object);
    return {};
  }
  std::vector<std::string_view> names;
  bool known = false;
  for (const ObjectKind& kind : object_kinds()) {
    if (kind.type == type && kind.help.empty()) return error("objects of type '{}' are not supported yet", type);
    known |= kind.type == type;
    names.push_back(kind.type);
  }
  if (!known) {
    std::string hint = did_you_mean(type, names);
    if (hint.empty()) hint = "'-object help' lists the types";
    return error(Error(fmt::format("no object type '{}'", type)).with_hint(std::move(hint)));
  }
  const bool is_memfd = type == "memory-backend-memfd";
  if (type != "memory-backend-ram" && !is_memfd) {
    ObjectRequest request{type, EMU_TRY(options.take_required("id")), {}};
    for (auto& [key, value] : options.take_rest()) request.properties.emplace_back(key, std::move(value));
    EMU_TRY(claim_id("object", request.id));
    out_.objects.push_back(std::move(request));
    return {};
  }
  MemoryBackend backend;
  backend.id = EMU_TRY(options.take_required("id"));
  backend.size = EMU_TRY(options.take_size("size")).value_or(0);
  backend.prealloc = EMU_TRY(options.take_bool_or("prealloc", false));
  backend.share = EMU_TRY(options.take_bool_or("share", is_memfd));
  if (is_memfd && EMU_TRY(options.take_bool_or("hugetlb", false))) {
    return error("hugetlb=on: pages of hugetlbfs are not supported");
  }
  if (is_memfd) EMU_TRY(options.take_bool("seal"));
  EMU_TRY(options.take_bool("x-use-canonical-path-for-ramblock-id"));
  EMU_TRY(options.take_bool("merge"));
  EMU_TRY(options.take_bool("dump"));
  EMU_TRY(options.finish());
  if (backend.size == 0) return error("'size=' is missing");
  EMU_TRY(claim_id("object", backend.id));
  out_.objects.push_back(
      {type, backend.id, {{"size", backend.size}, {"prealloc", backend.prealloc}, {"share", backend.share}}});
  out_.memory_backends.push_back(std::move(backend));
  return {};
}

Result<void> OptionReader::chardev(const std::string& text) {
  Options options = EMU_TRY(Options::parse(text, {.implied_key = "backend", .json = json_pairs}));
  if (options.asks_help()) {
    ask(HelpTopic::Chardev);
    return {};
  }
  chardev::ChardevOptions parsed = EMU_TRY(chardev::parse_chardev(options));
  EMU_TRY(claim_id("chardev", parsed.id));
  out_.chardevs.push_back(std::move(parsed));
  return {};
}

Result<void> OptionReader::mon(const std::string& text) {
  Options options = EMU_TRY(Options::parse(text, {.implied_key = "chardev", .json = json_pairs}));
  MonitorRequest request;
  request.chardev = EMU_TRY(options.take_required("chardev"));
  request.for_programs = EMU_TRY(options.take_enum("mode", {"readline", "control"})).value_or(0) == 1;
  const auto pretty = EMU_TRY(options.take_bool("pretty"));
  if (pretty && !request.for_programs) {
    return error(Error("'pretty' is not compatible with HMP monitors").with_hint("it goes with mode=control"));
  }
  request.pretty = pretty.value_or(false);
  EMU_TRY(claim_id("monitor", options.take("id").value_or("")));
  EMU_TRY(options.finish());
  out_.monitors.push_back(std::move(request));
  return {};
}

Result<void> OptionReader::add_fd(Options options) {
  FdRequest request;
  const auto fd = EMU_TRY(options.take_u64("fd")), set = EMU_TRY(options.take_u64("set"));
  if (!fd || !set) return error("'fd=' and 'set=' are needed");
  if (*fd <= 2 || *fd > 0x7fffffff)
    return error("fd={}: cannot be passed: it is a standard stream, or none at all", *fd);
  request = {*fd, *set, options.take("opaque")};
  EMU_TRY(options.finish());
  out_.fds.push_back(std::move(request));
  return {};
}

Result<void> OptionReader::display(const std::string& text) {
  if (is_help(text)) {
    ask(HelpTopic::Display);
    return {};
  }
  if (text == "none") {
    if (out_.display != DisplayChoice::Nographic) out_.display = DisplayChoice::None;
    return {};
  }
  static constexpr std::string_view kOthers[] = {"none", "gtk",       "sdl",          "curses",
                                                 "vnc",  "spice-app", "egl-headless", "dbus"};
  const std::string kind = text.substr(0, text.find_first_of(",="));
  for (const std::string_view other : kOthers) {
    if (kind == other)
      return error(Error(fmt::format("'{}' is not supported yet", kind)).with_hint("use -nographic, or -display none"));
  }
  std::string hint = did_you_mean(kind, kOthers);
  return error(Error(fmt::format("no display '{}'", kind)).with_hint(hint.empty() ? "there is none" : std::move(hint)));
}

Result<void> OptionReader::audiodev(Options options) {
  const std::string driver = EMU_TRY(options.take_required("driver"));
  const std::string id = EMU_TRY(options.take_required("id"));
  if (driver != "none") {
    return error(Error(fmt::format("'{}': there is no sound yet", driver)).with_hint("write -audiodev none,id=ID"));
  }
  EMU_TRY(claim_id("audiodev", id));
  for (auto& [key, value] : options.take_rest()) static_cast<void>(value);  // formats of what nobody plays
  return {};
}

Result<void> OptionReader::vga(const std::string& text) {
  if (is_help(text)) {
    ask(HelpTopic::Vga);
    return {};
  }
  if (text == "none" || text == "std") {
    out_.vga = text == "std";
    return {};
  }
  static constexpr std::string_view kOthers[] = {"none",  "std", "cirrus", "vmware", "qxl",
                                                 "xenfb", "tcx", "cg3",    "virtio"};
  for (const std::string_view other : kOthers) {
    if (text == other)
      return error(Error(fmt::format("'{}' is not supported yet", text)).with_hint("there are std and none"));
  }
  return error(Error(fmt::format("no video card '{}'", text)).with_hint(did_you_mean(text, kOthers)));
}

Result<void> OptionReader::network(const GivenOption& given) {
  const auto take = given.row->opt == Opt::Netdev ? take_netdev : given.row->opt == Opt::Nic ? take_nic : take_net;
  switch (EMU_TRY(take(given.value, out_.network))) {
    case NetHelp::None:
      break;
    case NetHelp::Netdev:
      ask(HelpTopic::Netdev);
      break;
    case NetHelp::Models:
      ask(HelpTopic::NicModels);
      break;
  }
  return {};
}

}  // namespace emu::softmmu
