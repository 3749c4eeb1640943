// SPDX-License-Identifier: Apache-2.0
// screendump: what a display shows, as a file.
#include "monitor/commands.h"
#include "monitor/output_file.h"
#include "softmmu/memory/machine_lock.h"
#include "ui/image_file.h"
#include "util/string.h"

namespace emu::monitor {
namespace {

enum class FileFormat : u8 { Ppm, Png };
constexpr EnumNames enum_names(FileFormat) { return {"ImageFormat", {"ppm", "png"}}; }

struct ScreendumpArguments {
  static constexpr const char* kName = "ScreendumpArguments";
  std::string filename;
  std::optional<std::string> device;
  std::optional<i64> head;
  std::optional<FileFormat> format;
  void members(auto& m) {
    m("filename", filename);
    m("device", device);
    m("head", head);
    m("format", format);
  }
};

/// The screen of a device, given by its id or path; or the first there is.
Result<ui::Screen*> find_screen(CommandContext& context, const std::optional<std::string>& device) {
  qom::ObjectTree& tree = context.control.machine().tree();
  if (!device) {
    ui::Screen* first = nullptr;
    tree.root().visit([&](qom::Object& object) {
      if (auto* screen = dynamic_cast<ui::Screen*>(&object); screen != nullptr && first == nullptr) first = screen;
    });
    if (first == nullptr) return error("There is no console to take a screendump from");
    return first;
  }
  qom::Object* object = tree.find(device->starts_with('/') ? *device : "/machine/peripheral/" + *device);
  if (device->empty() || object == nullptr) {
    return error(Error(fmt::format("Device '{}' not found", *device), ErrorClass::DeviceNotFound));
  }
  auto* screen = dynamic_cast<ui::Screen*>(object);
  if (screen == nullptr) return error("Device '{}' has no screen", *device);
  return screen;
}

Result<void> screendump(CommandContext& context, const ScreendumpArguments& arguments) {
  if (arguments.head && !arguments.device) return error("'head' must be specified together with 'device'");
  if (arguments.head.value_or(0) != 0) {
    return error("Device '{}' has no head {}", *arguments.device, *arguments.head);
  }
  ui::Picture picture;
  {
    mem::MachineLockScope guard(context.control.machine().memory().lock());
    const ui::Screen* screen = EMU_TRY(find_screen(context, arguments.device));
    picture = screen->picture();
  }
  const bool png = arguments.format == FileFormat::Png;
  const std::vector<u8> bytes =
      EMU_TRY(ui::encode_image(picture, png ? ui::ImageFormat::Png : ui::ImageFormat::Ppm));
  const Fd out = EMU_TRY(open_for_writing(context, arguments.filename));
  return write_all(out, bytes, arguments.filename);
}

/// FILE [-f FORMAT] [DEVICE [HEAD]]: the words behind the flag are one fewer when it is not there.
Result<Reply> hmp_screendump(CommandContext& context, const Arguments& arguments) {
  ScreendumpArguments wanted;
  wanted.filename = arguments.text("filename");
  std::vector<std::string> words;
  for (const char* name : {"word1", "word2", "word3"}) {
    if (arguments.has(name)) words.push_back(arguments.text(name));
  }
  std::size_t next = 0;
  if (arguments.flag("f")) {
    if (words.empty()) return error("argument 'format' is missing");
    wanted.format = EMU_TRY(from_json<FileFormat>(Json(words[next++]), "format"));
  }
  if (next < words.size()) wanted.device = words[next++];
  if (next < words.size()) {
    const auto head = parse_u64(words[next]);
    if (!head || *head > 0xffff) return error("invalid head '{}'", words[next]);
    wanted.head = i64(*head);
    next++;
  }
  if (next < words.size()) return error("extraneous characters at the end of line: '{}'", words[next]);
  EMU_TRY(screendump(context, wanted));
  return Reply{};
}

}  // namespace

void register_screen_commands(CommandRegistry& registry) {
  registry.add(qmp("screendump", screendump));
  registry.add({.name = "screendump",
                .arguments = {{"filename"},
                              {"f", ArgKind::Flag, Need::Optional},
                              {"word1", ArgKind::String, Need::Optional},
                              {"word2", ArgKind::String, Need::Optional},
                              {"word3", ArgKind::String, Need::Optional}},
                .syntax = "filename [-f format] [device [head]]",
                .help = "save screen from head 'head' of display device 'device' in specified format 'format' as image "
                        "'filename'. Currently only 'png' and 'ppm' formats are supported.",
                .run = hmp_screendump});
}

}  // namespace emu::monitor
