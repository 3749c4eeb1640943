// SPDX-License-Identifier: Apache-2.0
// Arguments and replies of commands as C++ structs that describe themselves. One list of members says what is accepted,
// what is answered, what errors name, and what query-qmp-schema tells:
//
//   enum class Disk { Hard, Floppy };
//   constexpr EnumNames enum_names(Disk) { return {"Disk", {"hard", "floppy"}}; }
//
//   struct EjectArguments {
//     static constexpr const char* kName = "EjectArguments";
//     Disk disk = Disk::Hard;
//     std::optional<u64> delay_ms;   // may be left out
//     std::vector<std::string> labels;
//     void members(auto& m) { m("disk", disk); m("delay-ms", delay_ms); m("labels", labels); }
//   };
//
// Members that depend on another's value follow m.tag(): `m.tag("type", kind); m.when(Kind::File, file);` where `file`
// is a struct whose members stand beside the tag.
#pragma once

#include <algorithm>
#include <array>
#include <concepts>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "util/result.h"
#include "util/types.h"

namespace emu::qom {
class TypeRegistry;
}

namespace emu::monitor {

using Json = nlohmann::json;

/// Name of an enum on the wire, and of its values 0, 1, ... in order.
struct EnumNames {
  static constexpr std::size_t kMost = 16;
  const char* name;
  const char* values[kMost] = {};
  constexpr std::size_t count() const {
    std::size_t n = 0;
    while (n < kMost && values[n] != nullptr) n++;
    return n;
  }
};

template <typename T>
concept NamedEnum = std::is_enum_v<T> && requires(T value) { enum_names(value); };
template <typename T>
concept DescribedStruct = std::is_class_v<T> && requires { T::kName; };


/// Collects the types that query-qmp-schema lists.
class SchemaBuilder {
 public:
  explicit SchemaBuilder(const qom::TypeRegistry* types) : types_(types) {}
  /// For types whose members are the properties of object types.
  const qom::TypeRegistry* types() const { return types_; }

  std::string builtin(const char* name, const char* json_type);
  std::string array_of(const std::string& element);
  /// True the first time a name is seen: the caller then adds the entity.
  bool claim(const std::string& name) { return claimed_.insert(name).second; }
  void add(Json entity) { entities_.push_back(std::move(entity)); }
  std::string enumeration(const std::string& name, const std::vector<std::string>& values);
  const std::string& empty_object();
  Json take() { return std::move(entities_); }

 private:
  const qom::TypeRegistry* types_;
  Json entities_ = Json::array();
  std::set<std::string> claimed_;
  std::string empty_ = "q_empty";
};

template <typename T>
struct Codec;

/// The type's name in the schema; adds it, and those it needs.
template <typename T>
std::string schema_type(SchemaBuilder& builder) {
  return Codec<T>::describe(builder);
}

/// Checks and converts one value; `name` is what errors call it.
template <typename T>
Result<T> from_json(const Json& value, const std::string& name) {
  return Codec<T>::from(value, name);
}
template <typename T>
Json to_json_value(const T& value) {
  return Codec<T>::to(value);
}

tl::unexpected<Error> wrong_type(const std::string& name, std::string_view expected);

template <>
struct Codec<bool> {
  static std::string describe(SchemaBuilder& builder) { return builder.builtin("bool", "boolean"); }
  static Result<bool> from(const Json& value, const std::string& name) {
    if (!value.is_boolean()) return wrong_type(name, "boolean");
    return value.get<bool>();
  }
  static Json to(bool v) { return v; }
};

template <std::integral I>
  requires(!std::same_as<I, bool>)
struct Codec<I> {
  static std::string describe(SchemaBuilder& builder) { return builder.builtin("int", "int"); }
  static Result<I> from(const Json& value, const std::string& name) {
    if (value.is_number_unsigned()) {
      const u64 number = value.get<u64>();
      if (number <= u64(std::numeric_limits<I>::max())) return I(number);
    } else if (value.is_number_integer()) {
      const i64 number = value.get<i64>();
      // A negative number stands for the unsigned one of the same bits, as in QEMU.
      if constexpr (std::is_same_v<I, u64>) return u64(number);
      if constexpr (std::is_signed_v<I>) {
        if (number >= i64(std::numeric_limits<I>::min())) return I(number);
      }
    } else {
      return wrong_type(name, "integer");
    }
    if (sizeof(I) == 8) return wrong_type(name, "integer");
    return error("Parameter '{}' expects {}int{}_t", name, std::is_signed_v<I> ? "" : "u", sizeof(I) * 8);
  }
  static Json to(I v) { return v; }
};

template <>
struct Codec<double> {
  static std::string describe(SchemaBuilder& builder) { return builder.builtin("number", "number"); }
  static Result<double> from(const Json& value, const std::string& name) {
    if (!value.is_number()) return wrong_type(name, "number");
    return value.get<double>();
  }
  static Json to(double v) { return v; }
};

template <>
struct Codec<std::string> {
  static std::string describe(SchemaBuilder& builder) { return builder.builtin("str", "string"); }
  static Result<std::string> from(const Json& value, const std::string& name) {
    if (!value.is_string()) return wrong_type(name, "string");
    return value.get<std::string>();
  }
  static Json to(const std::string& v) { return v; }
};

/// Any JSON value.
template <>
struct Codec<Json> {
  static std::string describe(SchemaBuilder& builder) { return builder.builtin("any", "value"); }
  static Result<Json> from(const Json& value, const std::string&) { return value; }
  static Json to(const Json& v) { return v; }
};

template <NamedEnum E>
struct Codec<E> {
  static std::string describe(SchemaBuilder& builder) {
    constexpr EnumNames names = enum_names(E{});
    return builder.enumeration(names.name, {names.values, names.values + names.count()});
  }
  static Result<E> from(const Json& value, const std::string& name) {
    constexpr EnumNames names = enum_names(E{});
    if (!value.is_string()) return wrong_type(name, "string");
    const auto& text = value.get_ref<const std::string&>();
    for (std::size_t i = 0; i < names.count(); i++) {
      if (text == names.values[i]) return E(i);
    }
    return error("Parameter '{}' does not accept value '{}'", name.substr(name.rfind('.') + 1), text);
  }
  static Json to(E v) { return enum_names(v).values[std::size_t(v)]; }
};

template <typename T>
struct Codec<std::vector<T>> {
  static std::string describe(SchemaBuilder& builder) { return builder.array_of(schema_type<T>(builder)); }
  static Result<std::vector<T>> from(const Json& value, const std::string& name) {
    if (!value.is_array()) return wrong_type(name, "array");
    std::vector<T> list;
    for (std::size_t i = 0; i < value.size(); i++) {
      list.push_back(EMU_TRY(from_json<T>(value[i], fmt::format("{}[{}]", name, i))));
    }
    return list;
  }
  static Json to(const std::vector<T>& list) {
    Json array = Json::array();
    for (const T& item : list) array.push_back(to_json_value(item));
    return array;
  }
};

template <typename T>
struct is_optional : std::false_type {};
template <typename T>
struct is_optional<std::optional<T>> : std::true_type {
  using Value = T;
};

/// Writes the members of a struct into a JSON object.
class MemberWriter {
 public:
  explicit MemberWriter(Json& object) : object_(object) {}
  template <typename T>
  void operator()(const char* name, T& value) {
    if constexpr (is_optional<T>::value) {
      if (value) object_[name] = to_json_value(*value);
    } else {
      object_[name] = to_json_value(value);
    }
  }
  template <typename E>
  void tag(const char* name, E& value) {
    (*this)(name, value);
    tag_ = std::size_t(value);
  }
  template <typename E, typename T>
  void when(E value, T& branch) {
    if (std::size_t(value) == tag_) branch.members(*this);
  }
  /// Members that no list names.
  void rest(Json& others) { object_.update(others); }

 private:
  Json& object_;
  std::size_t tag_ = 0;
};

/// Reads the members of a struct from a JSON object. The first error stays; at the end unknown members are one.
class MemberReader {
 public:
  MemberReader(const Json& object, std::string prefix) : object_(object), prefix_(std::move(prefix)) {}
  template <typename T>
  void operator()(const char* name, T& value) {
    if (failure_) return;
    const auto at = object_.find(name);
    seen_.push_back(name);
    if (at == object_.end()) {
      if constexpr (!is_optional<T>::value) fail(Error(fmt::format("Parameter '{}' is missing", prefix_ + name)));
      return;
    }
    if constexpr (is_optional<T>::value) {
      take(from_json<typename is_optional<T>::Value>(*at, prefix_ + name), value);
    } else {
      take(from_json<T>(*at, prefix_ + name), value);
    }
  }
  template <typename E>
  void tag(const char* name, E& value) {
    (*this)(name, value);
    tag_ = std::size_t(value);
  }
  template <typename E, typename T>
  void when(E value, T& branch) {
    if (!failure_ && std::size_t(value) == tag_) branch.members(*this);
  }
  void rest(Json& others);
  Result<void> finish();

 private:
  template <typename T, typename V>
  void take(Result<T> result, V& value) {
    if (result) {
      value = std::move(*result);
    } else {
      fail(std::move(result).error());
    }
  }
  void fail(Error e) {
    if (!failure_) failure_ = std::move(e);
  }
  const Json& object_;
  const std::string prefix_;
  std::vector<std::string_view> seen_;
  std::size_t tag_ = 0;
  std::optional<Error> failure_;
};

/// Lists the members of a struct for the schema.
class MemberDescriber {
 public:
  explicit MemberDescriber(SchemaBuilder& builder) : builder_(builder) {}
  template <typename T>
  void operator()(const char* name, T&) {
    Json member;
    member["name"] = name;
    if constexpr (is_optional<T>::value) {
      member["type"] = schema_type<typename is_optional<T>::Value>(builder_);
      member["default"] = nullptr;
    } else {
      member["type"] = schema_type<T>(builder_);
    }
    members_.push_back(std::move(member));
  }
  template <NamedEnum E>
  void tag(const char* name, E& value) {
    (*this)(name, value);
    tag_ = name;
    constexpr EnumNames names = enum_names(E{});
    for (std::size_t i = 0; i < names.count(); i++) {
      variants_.push_back({{"case", names.values[i]}, {"type", builder_.empty_object()}});
    }
  }
  template <NamedEnum E, typename T>
  void when(E value, T&) {
    variants_[std::size_t(value)]["type"] = schema_type<T>(builder_);
  }
  void rest(Json&) {}
  Json take(const char* name) {
    Json object = {{"name", name}, {"meta-type", "object"}, {"members", std::move(members_)}};
    if (!tag_.empty()) {
      object["tag"] = tag_;
      object["variants"] = std::move(variants_);
    }
    return object;
  }

 private:
  SchemaBuilder& builder_;
  Json members_ = Json::array();
  Json variants_ = Json::array();
  std::string tag_;
};

template <DescribedStruct T>
struct Codec<T> {
  static std::string describe(SchemaBuilder& builder) {
    if constexpr (requires { T::describe_schema(builder); }) {
      return T::describe_schema(builder);
    } else {
      if (builder.claim(T::kName)) {
        MemberDescriber describer(builder);
        T example{};
        example.members(describer);
        builder.add(describer.take(T::kName));
      }
      return T::kName;
    }
  }
  static Result<T> from(const Json& value, const std::string& name) {
    if (!value.is_object()) return wrong_type(name, "object");
    MemberReader reader(value, name.empty() ? "" : name + ".");
    T result{};
    result.members(reader);
    EMU_TRY(reader.finish());
    return result;
  }
  static Json to(const T& value) {
    Json object = Json::object();
    MemberWriter writer(object);
    T copy = value;  // member lists serve both directions and so take references
    copy.members(writer);
    return object;
  }
};

/// `data` in the middle, where QEMU's unions have it.
template <typename T>
struct Wrapped {
  static constexpr auto kNameStorage = [] {
    std::array<char, 80> text{};
    std::size_t n = 0;
    for (const char* c = T::kName; *c != 0 && n < 70; c++) text[n++] = *c;
    for (const char* c = "-wrapper"; *c != 0; c++) text[n++] = *c;
    return text;
  }();
  static constexpr const char* kName = kNameStorage.data();
  T data{};
  void members(auto& m) { m("data", data); }
};

/// A struct without members.
struct Empty {
  static constexpr const char* kName = "Empty";
  static std::string describe_schema(SchemaBuilder& builder) { return builder.empty_object(); }
  void members(auto&) {}
};

}  // namespace emu::monitor
