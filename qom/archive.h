// SPDX-License-Identifier: Apache-2.0
// Saved state: a tree of named fields, and the Archive that one field list uses both to save and to load.
#pragma once

#include <array>
#include <atomic>
#include <concepts>
#include <limits>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "util/endian.h"
#include "util/result.h"
#include "util/types.h"

namespace emu::qom {

/// One value, list or struct of saved state. Order of members is the order of saving.
class FieldTree {
 public:
  struct Member;
  using ByteString = std::vector<u8>;
  using List = std::vector<FieldTree>;
  using Struct = std::vector<Member>;

  FieldTree() = default;
  template <typename V>
    requires(!std::same_as<std::remove_cvref_t<V>, FieldTree>)
  explicit FieldTree(V&& v) : value_(std::forward<V>(v)) {}

  template <typename V>
  V* get_if() {
    return std::get_if<V>(&value_);
  }
  template <typename V>
  const V* get_if() const {
    return std::get_if<V>(&value_);
  }
  /// Member of a struct; null if this is no struct or has no such member.
  const FieldTree* find(std::string_view name) const;
  /// Appends a member; this becomes a struct if it was empty. Names are unique by construction of the field lists.
  FieldTree& add(std::string name);
  FieldTree& add(std::string name, FieldTree value);
  /// Indented text for people and test failures.
  std::string dump(unsigned indent = 0) const;
  bool operator==(const FieldTree& other) const;

 private:
  std::variant<std::monostate, bool, u64, i64, double, std::string, ByteString, List, Struct> value_;
};

struct FieldTree::Member {
  std::string name;
  FieldTree value;
  bool operator==(const Member& other) const = default;
};
inline FieldTree& FieldTree::add(std::string name) { return add(std::move(name), FieldTree()); }

/// Saves or loads named fields: `ar("alarm", s.alarm)("isr", s.isr);`. Loading treats its input as hostile: a missing,
/// unknown or out-of-range field or wrong length is an error, kept until the end; the first one is reported.
/// Values: integers, bool, enums (range-check them in after_load), float/double, strings, Le/Be integers, std::array
/// and C arrays, std::optional, std::atomic, std::vector (loads only at its length; see bounded()), and structs with
/// `void fields(Archive&)` or `static void fields(Archive&, S&)`.
class Archive {
 public:
  /// For saving into `node`, which becomes a struct.
  static Archive saver(FieldTree& node, u32 version) { return Archive(&node, nullptr, version); }
  /// For loading from `node`. `version` is what the saved state says.
  static Archive loader(const FieldTree& node, u32 version) { return Archive(nullptr, &node, version); }

  bool is_loading() const { return source_ != nullptr; }
  /// Version of the state being loaded, or of the one being written.
  u32 version() const { return version_; }

  template <typename V>
  Archive& operator()(std::string_view name, V& value) {
    field(name, [&](FieldTree& out) { save_value(out, value); },
          [&](const FieldTree& in) { return load_value(in, value); });
    return *this;
  }
  /// The next field exists since `version`; when older state is loaded it keeps its present value.
  Archive& since(u32 version) {
    since_ = version;
    return *this;
  }
  /// A vector or string whose length is part of the state, at most `max_length`.
  template <typename C>
  Archive& bounded(std::string_view name, C& value, size_t max_length) {
    field(name, [&](FieldTree& out) { save_value(out, value); },
          [&](const FieldTree& in) -> Result<void> {
            const size_t length = length_of(in);
            if (length > max_length) return error("has {} entries, at most {} are possible", length, max_length);
            value.resize(length);
            return load_value(in, value);
          });
    return *this;
  }

  /// Ends the field list: the first error, or an unknown field.
  Result<void> finish();

 private:
  Archive(FieldTree* sink, const FieldTree* source, u32 version) : sink_(sink), source_(source), version_(version) {
    if (sink_ != nullptr) *sink_ = FieldTree(FieldTree::Struct());
  }

  template <typename Save, typename Load>
  void field(std::string_view name, Save&& save, Load&& load) {
    const u32 since = std::exchange(since_, 0);
    if (sink_ != nullptr) {
      FieldTree node;
      save(node);
      sink_->add(std::string(name), std::move(node));
      return;
    }
    if (failed_) return;
    const FieldTree* node = begin_load(name, since);
    if (node == nullptr) return;
    if (auto result = load(*node); !result) fail(name, std::move(result).error());
  }
  const FieldTree* begin_load(std::string_view name, u32 since);
  void fail(std::string_view name, Error e);
  static size_t length_of(const FieldTree& node);

  static Result<u64> load_unsigned(const FieldTree& node, u64 max);
  static Result<i64> load_signed(const FieldTree& node, i64 min, i64 max);
  static Result<void> load_bytes(const FieldTree& node, u8* data, size_t size);
  static Result<const FieldTree::List*> load_list(const FieldTree& node, size_t size);

  template <typename V>
  void save_value(FieldTree& out, V& v);
  template <typename V>
  Result<void> load_value(const FieldTree& in, V& v);

  template <typename S>
  static void run_fields(Archive& ar, S& s) {
    if constexpr (requires { s.fields(ar); }) {
      s.fields(ar);
    } else {
      S::fields(ar, s);
    }
  }

  FieldTree* sink_;
  const FieldTree* source_;
  u32 version_;
  u32 since_ = 0;
  std::set<std::string, std::less<>> seen_;
  std::optional<Error> failed_;
};

namespace detail {
template <typename T>
struct IsOrdered : std::false_type {};
template <typename T, std::endian O>
struct IsOrdered<Ordered<T, O>> : std::true_type {};
template <typename T>
struct IsAtomic : std::false_type {};
template <typename T>
struct IsAtomic<std::atomic<T>> : std::true_type {};
template <typename T>
struct IsOptional : std::false_type {};
template <typename T>
struct IsOptional<std::optional<T>> : std::true_type {};
/// Arrays, vectors, strings: anything with data() and size(), C arrays included.
template <typename T>
concept Sequence = std::is_array_v<T> || requires(T& t) {
  t.data();
  t.size();
};
}  // namespace detail

template <typename V>
void Archive::save_value(FieldTree& out, V& v) {
  if constexpr (std::same_as<V, bool>) {
    out = FieldTree(v);
  } else if constexpr (std::is_enum_v<V>) {
    out = FieldTree(i64(v));
  } else if constexpr (std::unsigned_integral<V>) {
    out = FieldTree(u64(v));
  } else if constexpr (std::integral<V>) {
    out = FieldTree(i64(v));
  } else if constexpr (std::floating_point<V>) {
    out = FieldTree(double(v));
  } else if constexpr (detail::IsOrdered<V>::value) {
    out = FieldTree(u64(v.get()));
  } else if constexpr (detail::IsAtomic<V>::value) {
    auto copy = v.load();
    save_value(out, copy);
  } else if constexpr (detail::IsOptional<V>::value) {
    FieldTree::List list;
    if (v) save_value(list.emplace_back(), *v);
    out = FieldTree(std::move(list));
  } else if constexpr (std::same_as<V, std::string>) {
    out = FieldTree(v);
  } else if constexpr (std::same_as<V, std::vector<bool>>) {
    FieldTree::ByteString flags(v.begin(), v.end());
    out = FieldTree(std::move(flags));
  } else if constexpr (detail::Sequence<V>) {
    using Element = std::remove_cvref_t<decltype(*std::data(v))>;
    if constexpr (std::same_as<Element, u8>) {
      out = FieldTree(FieldTree::ByteString(std::data(v), std::data(v) + std::size(v)));
    } else {
      FieldTree::List list(std::size(v));
      size_t i = 0;
      for (auto& element : v) save_value(list[i++], element);
      out = FieldTree(std::move(list));
    }
  } else {
    Archive nested = saver(out, version_);
    run_fields(nested, v);
  }
}

template <typename V>
Result<void> Archive::load_value(const FieldTree& in, V& v) {
  if constexpr (std::same_as<V, bool>) {
    if (in.get_if<bool>() == nullptr) return error("is not a truth value");
    v = *in.get_if<bool>();
  } else if constexpr (std::is_enum_v<V>) {
    using U = std::underlying_type_t<V>;
    v = V(EMU_TRY(load_signed(in, i64(std::numeric_limits<U>::min()),
                              sizeof(U) == 8 ? std::numeric_limits<i64>::max() : i64(std::numeric_limits<U>::max()))));
  } else if constexpr (std::unsigned_integral<V>) {
    v = V(EMU_TRY(load_unsigned(in, std::numeric_limits<V>::max())));
  } else if constexpr (std::integral<V>) {
    v = V(EMU_TRY(load_signed(in, std::numeric_limits<V>::min(), std::numeric_limits<V>::max())));
  } else if constexpr (std::floating_point<V>) {
    if (in.get_if<double>() == nullptr) return error("is not a number");
    v = V(*in.get_if<double>());
  } else if constexpr (detail::IsOrdered<V>::value) {
    using U = typename V::value_type;
    v = U(EMU_TRY(load_unsigned(in, std::numeric_limits<U>::max())));
  } else if constexpr (detail::IsAtomic<V>::value) {
    auto copy = v.load();
    EMU_TRY(load_value(in, copy));
    v.store(copy);
  } else if constexpr (detail::IsOptional<V>::value) {
    const auto* list = in.get_if<FieldTree::List>();
    if (list == nullptr || list->size() > 1) return error("is not an optional value");
    v.reset();
    if (!list->empty()) {
      v.emplace();
      return load_value((*list)[0], *v);
    }
  } else if constexpr (std::same_as<V, std::string>) {
    if (in.get_if<std::string>() == nullptr) return error("is not text");
    if (in.get_if<std::string>()->size() > 65536) return error("is too long");
    v = *in.get_if<std::string>();
  } else if constexpr (std::same_as<V, std::vector<bool>>) {
    std::vector<u8> flags(v.size());
    EMU_TRY(load_bytes(in, flags.data(), flags.size()));
    for (size_t i = 0; i < flags.size(); ++i) v[i] = flags[i] != 0;
  } else if constexpr (detail::Sequence<V>) {
    using Element = std::remove_cvref_t<decltype(*std::data(v))>;
    if constexpr (std::same_as<Element, u8>) {
      return load_bytes(in, std::data(v), std::size(v));
    } else {
      const FieldTree::List* list = EMU_TRY(load_list(in, std::size(v)));
      size_t i = 0;
      for (auto& element : v) {
        EMU_TRY(load_value((*list)[i], element), fmt::format("[{}]", i));
        ++i;
      }
    }
  } else {
    if (in.get_if<FieldTree::Struct>() == nullptr) return error("is not a struct");
    Archive nested = loader(in, version_);
    run_fields(nested, v);
    return nested.finish();
  }
  return {};
}

}  // namespace emu::qom
