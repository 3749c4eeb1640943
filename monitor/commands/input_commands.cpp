// SPDX-License-Identifier: Apache-2.0
// send-key: keys typed from outside.
#include <array>

#include "hw/input/i8042.h"
#include "monitor/commands.h"
#include "monitor/monitors.h"
#include "util/string.h"

namespace emu::monitor {
namespace {

struct KeyRow {
  std::string_view name;
  u8 code;  ///< scan code of set 1; bit 7: behind the prefix 0xe0
};

// IBM PS/2 Hardware Interface Technical Reference, "Keyboards", scan code set 1; names are QEMU's QKeyCode.
constexpr auto kKeys = std::to_array<KeyRow>({
    {"shift", 0x2a},       {"shift_r", 0x36},     {"alt", 0x38},         {"alt_r", 0xb8},        {"ctrl", 0x1d},
    {"ctrl_r", 0x9d},      {"menu", 0xdd},        {"esc", 0x01},         {"1", 0x02},            {"2", 0x03},
    {"3", 0x04},           {"4", 0x05},           {"5", 0x06},           {"6", 0x07},            {"7", 0x08},
    {"8", 0x09},           {"9", 0x0a},           {"0", 0x0b},           {"minus", 0x0c},        {"equal", 0x0d},
    {"backspace", 0x0e},   {"tab", 0x0f},         {"q", 0x10},           {"w", 0x11},            {"e", 0x12},
    {"r", 0x13},           {"t", 0x14},           {"y", 0x15},           {"u", 0x16},            {"i", 0x17},
    {"o", 0x18},           {"p", 0x19},           {"bracket_left", 0x1a}, {"bracket_right", 0x1b}, {"ret", 0x1c},
    {"a", 0x1e},           {"s", 0x1f},           {"d", 0x20},           {"f", 0x21},            {"g", 0x22},
    {"h", 0x23},           {"j", 0x24},           {"k", 0x25},           {"l", 0x26},            {"semicolon", 0x27},
    {"apostrophe", 0x28},  {"grave_accent", 0x29}, {"backslash", 0x2b},  {"z", 0x2c},            {"x", 0x2d},
    {"c", 0x2e},           {"v", 0x2f},           {"b", 0x30},           {"n", 0x31},            {"m", 0x32},
    {"comma", 0x33},       {"dot", 0x34},         {"slash", 0x35},       {"asterisk", 0x37},     {"spc", 0x39},
    {"caps_lock", 0x3a},   {"f1", 0x3b},          {"f2", 0x3c},          {"f3", 0x3d},           {"f4", 0x3e},
    {"f5", 0x3f},          {"f6", 0x40},          {"f7", 0x41},          {"f8", 0x42},           {"f9", 0x43},
    {"f10", 0x44},         {"num_lock", 0x45},    {"scroll_lock", 0x46}, {"kp_7", 0x47},         {"kp_8", 0x48},
    {"kp_9", 0x49},        {"kp_subtract", 0x4a}, {"kp_4", 0x4b},        {"kp_5", 0x4c},         {"kp_6", 0x4d},
    {"kp_add", 0x4e},      {"kp_1", 0x4f},        {"kp_2", 0x50},        {"kp_3", 0x51},         {"kp_0", 0x52},
    {"kp_decimal", 0x53},  {"sysrq", 0x54},       {"less", 0x56},        {"f11", 0x57},          {"f12", 0x58},
    {"kp_enter", 0x9c},    {"kp_divide", 0xb5},   {"kp_multiply", 0x37}, {"print", 0xb7},        {"pause", 0xc6},
    {"home", 0xc7},        {"up", 0xc8},          {"pgup", 0xc9},        {"left", 0xcb},         {"right", 0xcd},
    {"end", 0xcf},         {"down", 0xd0},        {"pgdn", 0xd1},        {"insert", 0xd2},       {"delete", 0xd3},
    {"meta_l", 0xdb},      {"meta_r", 0xdc},      {"compose", 0xdd},
});

const KeyRow* find_key(std::string_view name) {
  for (const KeyRow& row : kKeys) {
    if (row.name == name) return &row;
  }
  return nullptr;
}

/// A key by name.
struct QKeyCode {
  const KeyRow* key = nullptr;
};

}  // namespace

template <>
struct Codec<QKeyCode> {
  static std::string describe(SchemaBuilder& builder) {
    std::vector<std::string> names;
    for (const KeyRow& row : kKeys) names.emplace_back(row.name);
    return builder.enumeration("QKeyCode", names);
  }
  static Result<QKeyCode> from(const Json& value, const std::string& name) {
    if (!value.is_string()) return wrong_type(name, "string");
    const KeyRow* found = find_key(value.get_ref<const std::string&>());
    if (found == nullptr) return error("Parameter 'data' does not accept value '{}'", value.get<std::string>());
    return QKeyCode{found};
  }
  static Json to(const QKeyCode& v) { return std::string(v.key->name); }
};

namespace {

enum class KeyKind : u8 { Number, Qcode };
constexpr EnumNames enum_names(KeyKind) { return {"KeyValueKind", {"number", "qcode"}}; }
struct NumberData {
  static constexpr const char* kName = "KeyNumber";
  i64 data = 0;
  void members(auto& m) { m("data", data); }
};
struct QcodeData {
  static constexpr const char* kName = "KeyQcode";
  QKeyCode data;
  void members(auto& m) { m("data", data); }
};
struct KeyValue {
  static constexpr const char* kName = "KeyValue";
  KeyKind type = KeyKind::Number;
  NumberData number;
  QcodeData qcode;
  void members(auto& m) {
    m.tag("type", type);
    m.when(KeyKind::Number, number);
    m.when(KeyKind::Qcode, qcode);
  }
};
struct SendKeyArguments {
  static constexpr const char* kName = "SendKeyArguments";
  std::vector<KeyValue> keys;
  std::optional<i64> hold_time;
  void members(auto& m) {
    m("keys", keys);
    m("hold-time", hold_time);
  }
};

constexpr std::size_t kMostKeys = 16;
constexpr i64 kDefaultHoldMs = 100, kLongestHoldMs = 60'000;

void press(MachineControl& control, const std::vector<u8>& codes, bool down) {
  mem::MachineLockScope guard(control.machine().memory().lock());
  control.machine().tree().root().visit([&](qom::Object& object) {
    auto* controller = dynamic_cast<hw::I8042*>(&object);
    if (controller == nullptr) return;
    for (const u8 code : codes) controller->keyboard().key(u8(code & 0x7f), (code & 0x80) != 0, down);
    controller->pump();
  });
}

Result<void> send_codes(CommandContext& context, std::vector<u8> codes, i64 hold_ms) {
  if (codes.empty()) return error("Parameter 'keys' expects at least one key");
  if (codes.size() > kMostKeys) return error("Parameter 'keys' expects at most {} keys", kMostKeys);
  if (hold_ms < 0 || hold_ms > kLongestHoldMs) {
    return error("Parameter 'hold-time' expects a value from 0 to {}", kLongestHoldMs);
  }
  press(context.control, codes, true);
  std::reverse(codes.begin(), codes.end());
  context.monitors.after(std::chrono::milliseconds(hold_ms), [&control = context.control, codes = std::move(codes)] {
    press(control, codes, false);
  });
  return {};
}

Result<void> send_key(CommandContext& context, const SendKeyArguments& arguments) {
  std::vector<u8> codes;
  for (const KeyValue& key : arguments.keys) {
    if (key.type == KeyKind::Number && (key.number.data < 1 || key.number.data > 0xff)) {
      return error("Parameter 'data' expects a key number from 1 to 255");
    }
    codes.push_back(key.type == KeyKind::Number ? u8(key.number.data) : key.qcode.data.key->code);
  }
  return send_codes(context, std::move(codes), arguments.hold_time.value_or(kDefaultHoldMs));
}

Result<Reply> hmp_sendkey(CommandContext& context, const Arguments& arguments) {
  std::vector<u8> codes;
  const std::string keys = arguments.text("keys");  // the pieces below point into it
  for (const std::string_view name : split(keys, '-')) {
    if (const KeyRow* key = find_key(name)) {
      codes.push_back(key->code);
    } else if (const auto number = parse_u64(name);
               number && name.starts_with("0x") && *number > 0 && *number <= 0xff) {
      codes.push_back(u8(*number));
    } else {
      return error("invalid parameter: {}", name);
    }
  }
  EMU_TRY(send_codes(context, std::move(codes), i64(arguments.number("hold_ms").value_or(u64(kDefaultHoldMs)))));
  return Reply{};
}

}  // namespace

void register_input_commands(CommandRegistry& registry) {
  registry.add(qmp("send-key", send_key));
  registry.add({.name = "sendkey",
                .arguments = {{"keys"}, {"hold_ms", ArgKind::Expression, Need::Optional}},
                .syntax = "keys [hold_ms]",
                .help = "send keys to the VM (e.g. 'sendkey ctrl-alt-f1', default hold time=100 ms)",
                .run = hmp_sendkey});
}

}  // namespace emu::monitor
