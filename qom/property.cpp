// SPDX-License-Identifier: Apache-2.0
// Conversions of property values.
#include "qom/property.h"

#include <fmt/ranges.h>

#include "qom/object.h"
#include "qom/type.h"
#include "util/string.h"

namespace emu::qom {

std::string PropertyValue::text() const {
  return std::visit(
      [](const auto& v) -> std::string {
        using V = std::remove_cvref_t<decltype(v)>;
        if constexpr (std::same_as<V, std::monostate>) {
          return "";
        } else if constexpr (std::same_as<V, bool>) {
          return v ? "on" : "off";
        } else if constexpr (std::same_as<V, std::string>) {
          return v;
        } else if constexpr (std::same_as<V, List>) {
          std::string joined;
          for (const PropertyValue& item : v) joined += (joined.empty() ? "" : ",") + item.text();
          return joined;
        } else {
          return fmt::format("{}", v);
        }
      },
      value_);
}

Result<bool> PropertyCodec<bool>::from(const PropertyValue& value) {
  if (const bool* given = value.get_if<bool>()) return *given;
  if (const auto* text = value.get_if<std::string>()) {
    if (auto parsed = parse_bool(*text)) return *parsed;
  }
  return error("expects 'on' or 'off', not '{}'", value.text());
}

namespace detail {

Result<u64> unsigned_from(const PropertyValue& value, u64 max) {
  std::optional<u64> number;
  if (const u64* given = value.get_if<u64>()) {
    number = *given;
  } else if (const i64* given_signed = value.get_if<i64>()) {
    if (*given_signed >= 0) number = u64(*given_signed);
  } else if (const auto* text = value.get_if<std::string>()) {
    if (auto parsed = parse_u64(*text)) number = *parsed;
  }
  if (!number || *number > max) return error("expects a number from 0 to {}, not '{}'", max, value.text());
  return *number;
}

Result<i64> signed_from(const PropertyValue& value, i64 min, i64 max) {
  std::optional<i64> number;
  if (const i64* given = value.get_if<i64>()) {
    number = *given;
  } else if (const u64* given_unsigned = value.get_if<u64>()) {
    if (*given_unsigned <= u64(std::numeric_limits<i64>::max())) number = i64(*given_unsigned);
  } else if (const auto* text = value.get_if<std::string>()) {
    if (auto parsed = parse_i64(*text)) number = *parsed;
  }
  if (!number || *number < min || *number > max) {
    return error("expects a number from {} to {}, not '{}'", min, max, value.text());
  }
  return *number;
}

}  // namespace detail

Result<double> PropertyCodec<double>::from(const PropertyValue& value) {
  if (const double* given = value.get_if<double>()) return *given;
  if (const i64* given = value.get_if<i64>()) return double(*given);
  if (const u64* given = value.get_if<u64>()) return double(*given);
  if (const auto* text = value.get_if<std::string>(); text != nullptr && !text->empty()) {
    char* end = nullptr;
    const double parsed = std::strtod(text->c_str(), &end);
    if (*end == '\0') return parsed;
  }
  return error("expects a number, not '{}'", value.text());
}

Result<std::string> PropertyCodec<std::string>::from(const PropertyValue& value) {
  if (const auto* text = value.get_if<std::string>()) return *text;
  return error("expects text");
}

Result<Bytes> PropertyCodec<Bytes>::from(const PropertyValue& value) {
  if (const u64* given = value.get_if<u64>()) return Bytes{*given};
  if (const i64* given = value.get_if<i64>(); given != nullptr && *given >= 0) return Bytes{u64(*given)};
  if (const auto* text = value.get_if<std::string>()) {
    if (auto parsed = parse_size(*text)) return Bytes{*parsed};
  }
  return error("expects a size like 512, 4K or 1.5G, not '{}'", value.text());
}

Result<OnOffAuto> PropertyCodec<OnOffAuto>::from(const PropertyValue& value) {
  if (const bool* given = value.get_if<bool>()) return *given ? OnOffAuto::On : OnOffAuto::Off;
  if (const auto* text = value.get_if<std::string>()) {
    if (*text == "auto") return OnOffAuto::Auto;
    if (auto parsed = parse_bool(*text)) return *parsed ? OnOffAuto::On : OnOffAuto::Off;
  }
  return error("expects 'on', 'off' or 'auto', not '{}'", value.text());
}

PropertyValue PropertyCodec<OnOffAuto>::to(OnOffAuto v) {
  return v == OnOffAuto::Auto ? "auto" : v == OnOffAuto::On ? "on" : "off";
}

Result<void> Property::set(Object& object, const PropertyValue& value) const {
  if (!setter_) return error("Property '{}.{}' is read-only", object.type().name(), name_);
  auto done = setter_(object, value);
  if (done) return {};
  Error e = std::move(done).error();
  const bool reads_on = e.message().starts_with("expects ");
  const std::string name = fmt::format("Property '{}.{}'{}", object.type().name(), name_, reads_on ? " " : ": ");
  return error(Error(name + e.message(), e.error_class()).with_hint(e.hint()));
}

std::string Property::display(const PropertyValue& value) const {
  if (value.get_if<std::string>() != nullptr) return '"' + value.text() + '"';
  if (const bool* truth = value.get_if<bool>()) return *truth ? "true" : "false";
  if (const u64* number = value.get_if<u64>()) {
    if (type_name_ == "size" && *number >= 1024 && *number % 1024 == 0) {
      static constexpr const char* kUnits[] = {"", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
      unsigned unit = 0;
      u64 scaled = *number;
      for (; scaled % 1024 == 0; scaled /= 1024) ++unit;
      return fmt::format("{} ({} {})", *number, scaled, kUnits[unit]);
    }
    return fmt::format("{} ({:#x})", *number, *number);
  }
  if (value.is_null()) return "<null>";
  return value.text();
}

}  // namespace emu::qom
