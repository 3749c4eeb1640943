// SPDX-License-Identifier: Apache-2.0
// Typed properties of objects: their values, how they are read from text, and their description.
#pragma once

#include <concepts>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "util/result.h"
#include "util/types.h"

namespace emu::qom {

class Object;

/// A value on its way to or from a property: what JSON can say. Text is parsed by the property's own type.
class PropertyValue {
 public:
  using List = std::vector<PropertyValue>;

  PropertyValue() = default;
  PropertyValue(bool v) : value_(v) {}
  template <std::integral I>
    requires(!std::same_as<I, bool>)
  PropertyValue(I v) {
    if constexpr (std::is_signed_v<I>) {
      value_ = i64(v);
    } else {
      value_ = u64(v);
    }
  }
  PropertyValue(double v) : value_(v) {}
  PropertyValue(std::string v) : value_(std::move(v)) {}
  PropertyValue(std::string_view v) : value_(std::string(v)) {}
  PropertyValue(const char* v) : value_(std::string(v)) {}
  PropertyValue(List v) : value_(std::move(v)) {}

  template <typename V>
  const V* get_if() const {
    return std::get_if<V>(&value_);
  }
  bool is_null() const { return std::holds_alternative<std::monostate>(value_); }
  bool operator==(const PropertyValue&) const = default;
  /// For people: on/off for bools, decimal numbers, strings without quotes.
  std::string text() const;

 private:
  std::variant<std::monostate, bool, i64, u64, double, std::string, List> value_;
};

/// A number of bytes; text may carry a suffix: "4K", "1.5G" (powers of 1024). Type "size".
struct Bytes {
  u64 count = 0;
  bool operator==(const Bytes&) const = default;
};

enum class OnOffAuto { Auto, On, Off };

/// Converts a property's C++ type to and from PropertyValue. Specialise it for types of your own (a MAC address, ...):
/// `type_name`, `from` (its error reads on from the property's name: "expects a MAC address") and `to`.
template <typename V>
struct PropertyCodec;

template <>
struct PropertyCodec<bool> {
  static std::string type_name() { return "bool"; }
  static Result<bool> from(const PropertyValue& value);
  static PropertyValue to(bool v) { return v; }
};

namespace detail {
Result<u64> unsigned_from(const PropertyValue& value, u64 max);
Result<i64> signed_from(const PropertyValue& value, i64 min, i64 max);
}  // namespace detail

template <std::integral I>
  requires(!std::same_as<I, bool>)
struct PropertyCodec<I> {
  static std::string type_name() { return fmt::format("{}int{}", std::is_unsigned_v<I> ? "u" : "", sizeof(I) * 8); }
  static Result<I> from(const PropertyValue& value) {
    if constexpr (std::is_unsigned_v<I>) {
      return I(EMU_TRY(detail::unsigned_from(value, std::numeric_limits<I>::max())));
    } else {
      return I(EMU_TRY(detail::signed_from(value, std::numeric_limits<I>::min(), std::numeric_limits<I>::max())));
    }
  }
  static PropertyValue to(I v) { return v; }
};

template <>
struct PropertyCodec<double> {
  static std::string type_name() { return "number"; }
  static Result<double> from(const PropertyValue& value);
  static PropertyValue to(double v) { return v; }
};

template <>
struct PropertyCodec<std::string> {
  static std::string type_name() { return "str"; }
  static Result<std::string> from(const PropertyValue& value);
  static PropertyValue to(const std::string& v) { return v; }
};

template <>
struct PropertyCodec<Bytes> {
  static std::string type_name() { return "size"; }
  static Result<Bytes> from(const PropertyValue& value);
  static PropertyValue to(Bytes v) { return v.count; }
};

template <>
struct PropertyCodec<OnOffAuto> {
  static std::string type_name() { return "OnOffAuto"; }
  static Result<OnOffAuto> from(const PropertyValue& value);
  static PropertyValue to(OnOffAuto v);
};

/// "Not given" is a state of its own; reads as null.
template <typename V>
struct PropertyCodec<std::optional<V>> {
  static std::string type_name() { return PropertyCodec<V>::type_name(); }
  static Result<std::optional<V>> from(const PropertyValue& value) {
    if (value.is_null()) return std::optional<V>();
    return std::optional<V>(EMU_TRY(PropertyCodec<V>::from(value)));
  }
  static PropertyValue to(const std::optional<V>& v) { return v ? PropertyCodec<V>::to(*v) : PropertyValue(); }
};

/// What a type says about one of its properties. Made by TypeInfo<T>::property() and friends.
class Property {
 public:
  using Getter = std::function<PropertyValue(const Object&)>;
  using Setter = std::function<Result<void>(Object&, const PropertyValue&)>;

  Property(std::string name, std::string type_name, std::string doc, Getter getter, Setter setter)
      : name_(std::move(name)),
        type_name_(std::move(type_name)),
        doc_(std::move(doc)),
        getter_(std::move(getter)),
        setter_(std::move(setter)) {}

  const std::string& name() const { return name_; }
  /// QEMU's spelling: "bool", "uint32", "size", "str", "link<chardev>", an enum's name.
  const std::string& type_name() const { return type_name_; }
  const std::string& doc() const { return doc_; }
  const std::vector<std::string>& choices() const { return choices_; }
  bool is_read_only() const { return !setter_; }
  bool is_runtime_settable() const { return runtime_; }
  bool is_hex() const { return hex_; }
  bool is_link() const { return link_; }

  /// May be set after the object was realized too; otherwise that is refused.
  Property& settable_at_runtime() {
    runtime_ = true;
    return *this;
  }
  /// Shown in hexadecimal by info qtree.
  Property& hex() {
    hex_ = true;
    return *this;
  }
  Property& choices(std::vector<std::string> names) {
    choices_ = std::move(names);
    return *this;
  }
  /// Users must give it (objects of -object and object-add).
  Property& required() {
    required_ = true;
    return *this;
  }
  bool is_required() const { return required_; }
  Property& mark_link() {
    link_ = true;
    return *this;
  }

  PropertyValue get(const Object& object) const { return getter_(object); }
  /// The error says "Property 'type.name' ...", or which values are legal.
  Result<void> set(Object& object, const PropertyValue& value) const;
  /// As `info qtree` and help print it: numbers with hex where asked, strings in quotes.
  std::string display(const PropertyValue& value) const;

 private:
  std::string name_, type_name_, doc_;
  Getter getter_;
  Setter setter_;
  std::vector<std::string> choices_;
  bool runtime_ = false, hex_ = false, link_ = false, required_ = false;
};

}  // namespace emu::qom
