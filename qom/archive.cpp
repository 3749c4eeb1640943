// SPDX-License-Identifier: Apache-2.0
// Saved-state trees, and the checks made when they are loaded.
#include "qom/archive.h"

#include <algorithm>

namespace emu::qom {

const FieldTree* FieldTree::find(std::string_view name) const {
  const auto* members = get_if<Struct>();
  if (members == nullptr) return nullptr;
  for (const Member& member : *members) {
    if (member.name == name) return &member.value;
  }
  return nullptr;
}

FieldTree& FieldTree::add(std::string name, FieldTree value) {
  if (get_if<Struct>() == nullptr) value_ = Struct();
  return get_if<Struct>()->emplace_back(Member{std::move(name), std::move(value)}).value;
}

bool FieldTree::operator==(const FieldTree& other) const { return value_ == other.value_; }

std::string FieldTree::dump(unsigned indent) const {
  const std::string margin(indent * 2, ' ');
  return std::visit(
      [&](const auto& v) -> std::string {
        using V = std::remove_cvref_t<decltype(v)>;
        if constexpr (std::same_as<V, std::monostate>) {
          return "null";
        } else if constexpr (std::same_as<V, bool>) {
          return v ? "true" : "false";
        } else if constexpr (std::same_as<V, std::string>) {
          return '"' + v + '"';
        } else if constexpr (std::same_as<V, ByteString>) {
          std::string hex = "bytes:";
          for (u8 byte : v) hex += fmt::format("{:02x}", byte);
          return hex;
        } else if constexpr (std::same_as<V, List>) {
          std::string text = "[";
          for (const FieldTree& item : v) text += (text.size() == 1 ? "" : ", ") + item.dump(indent + 1);
          return text + "]";
        } else if constexpr (std::same_as<V, Struct>) {
          std::string text = "{\n";
          for (const Member& member : v) {
            text += fmt::format("{}  {}: {}\n", margin, member.name, member.value.dump(indent + 1));
          }
          return text + margin + "}";
        } else if constexpr (std::same_as<V, u64>) {
          return fmt::format("{:#x}", v);
        } else {
          return fmt::format("{}", v);
        }
      },
      value_);
}

const FieldTree* Archive::begin_load(std::string_view name, u32 since) {
  seen_.emplace(name);
  const FieldTree* node = source_->find(name);
  if (node == nullptr && version_ >= since) fail(name, Error("is missing"));
  if (node != nullptr && version_ < since) {
    fail(name, Error(fmt::format("belongs to version {}, but this is version {}", since, version_)));
    return nullptr;
  }
  return node;
}

void Archive::fail(std::string_view name, Error e) {
  const bool nested = e.message().starts_with('.') || e.message().starts_with('[');
  if (!failed_) failed_ = Error(fmt::format("{}{}{}", name, nested ? "" : " ", e.message()));
}

size_t Archive::length_of(const FieldTree& node) {
  if (const auto* bytes = node.get_if<FieldTree::ByteString>()) return bytes->size();
  if (const auto* list = node.get_if<FieldTree::List>()) return list->size();
  if (const auto* text = node.get_if<std::string>()) return text->size();
  return 0;
}

Result<void> Archive::finish() {
  if (source_ != nullptr && !failed_) {
    const auto* members = source_->get_if<FieldTree::Struct>();
    if (members == nullptr) return error("field list is no struct");
    for (const auto& member : *members) {
      if (!member.name.starts_with('_') && !seen_.contains(member.name)) fail(member.name, Error("is not known here"));
    }
    if (!failed_ && seen_.size() < members->size()) {
      // More members than names: one of them stands there twice.
      std::set<std::string_view> names;
      for (const auto& member : *members) {
        if (!names.insert(member.name).second) fail(member.name, Error("appears twice"));
      }
    }
  }
  if (failed_) return error(*failed_);
  return {};
}

Result<u64> Archive::load_unsigned(const FieldTree& node, u64 max) {
  const u64* value = node.get_if<u64>();
  if (value == nullptr) return error("is not an unsigned number");
  if (*value > max) return error("is {:#x}, more than {:#x}", *value, max);
  return *value;
}

Result<i64> Archive::load_signed(const FieldTree& node, i64 min, i64 max) {
  const i64* value = node.get_if<i64>();
  if (value == nullptr) return error("is not a signed number");
  if (*value < min || *value > max) return error("is {}, not within {} to {}", *value, min, max);
  return *value;
}

Result<void> Archive::load_bytes(const FieldTree& node, u8* data, size_t size) {
  const auto* bytes = node.get_if<FieldTree::ByteString>();
  if (bytes == nullptr) return error("is not a string of bytes");
  if (bytes->size() != size) return error("has {} bytes instead of {}", bytes->size(), size);
  std::copy(bytes->begin(), bytes->end(), data);
  return {};
}

Result<const FieldTree::List*> Archive::load_list(const FieldTree& node, size_t size) {
  const auto* list = node.get_if<FieldTree::List>();
  if (list == nullptr) return error("is not a list");
  if (list->size() != size) return error("has {} entries instead of {}", list->size(), size);
  return list;
}

}  // namespace emu::qom
