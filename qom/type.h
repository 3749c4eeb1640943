// SPDX-License-Identifier: Apache-2.0
// Types of objects: Type is what the program knows about one, TypeInfo<T> is what `T::describe` fills in, and
// TypeRegistry holds them all. docs/devel/devices.md has the worked example.
#pragma once

#include <fmt/ranges.h>

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <typeindex>
#include <unordered_map>
#include <vector>

#include "qom/archive.h"
#include "qom/object.h"
#include "qom/property.h"

namespace emu::qom {

/// What a library above qom knows about a type (hw: IRQ lines, register tables). Read it with Type::extension<E>().
class TypeExtension {
 public:
  virtual ~TypeExtension() = default;
};

/// One named type. Immutable once its register_* function has returned.
class Type {
 public:
  const std::string& name() const { return name_; }
  const Type* parent() const { return parent_; }
  bool is_abstract() const { return abstract_; }
  /// One line for help.
  const std::string& doc() const { return doc_; }
  bool is_a(std::string_view ancestor) const;
  bool is_a(const Type& ancestor) const;

  /// Own and inherited, ancestors first.
  std::vector<const Property*> properties() const;
  const Property* find_property(std::string_view name) const;
  /// As above, or an error with the nearest spelling.
  Result<const Property*> require_property(std::string_view name) const;
  /// The value a fresh object has; null for an abstract type.
  PropertyValue default_value(const Property& property) const;
  /// `-device T,help`: one line a property: "  epoch=<uint32>  - TIME at power-on (default: 0)".
  std::string property_help() const;

  /// This type's own extension, or null; inherited ones are found by walking parent().
  template <typename E>
  const E* extension() const {
    return dynamic_cast<const E*>(extension_.get());
  }
  /// The extension of type E of this type, made if absent. For TypeInfo extensions only.
  template <typename E>
  E& make_extension() {
    if (!extension_) extension_ = std::make_unique<E>();
    return dynamic_cast<E&>(*extension_);
  }

 private:
  friend class TypeRegistry;
  friend class Object;
  friend class ObjectTree;
  template <typename T>
  friend class ObjectDescription;

  struct Saved {
    u32 version;
    std::function<void(Archive&, Object&)> fields;
    std::function<Result<void>(Object&)> after_load;
  };

  /// A fresh object with this type's defaults applied, outside any tree.
  std::unique_ptr<Object> create() const;

  std::string name_, doc_;
  const Type* parent_ = nullptr;
  bool abstract_ = false;
  std::function<std::unique_ptr<Object>()> factory_;
  std::deque<Property> properties_;  // a deque: references stay valid while describe() adds more
  std::vector<std::pair<std::string, PropertyValue>> defaults_;
  std::optional<Saved> saved_;
  std::unique_ptr<TypeExtension> extension_;
};

/// All types of the program. Filled by explicit register_*(TypeRegistry&) calls before anything is created.
class TypeRegistry {
 public:
  TypeRegistry();  // knows "object" and "container"
  TypeRegistry(const TypeRegistry&) = delete;
  TypeRegistry& operator=(const TypeRegistry&) = delete;

  /// Adds `T` under `name`. Its parent type is the nearest C++ base with a `kTypeName` (Device, SysBusDevice, ...),
  /// which must be registered already. `more` is called after T::describe, for variants of one class.
  template <typename T>
  void add(std::string name, const std::function<void(TypeInfo<T>&)>& more = {});
  /// Adds an abstract type (a base class) under T::kTypeName, with `Parent::kTypeName` as its parent.
  template <typename T, typename Parent>
  void add_abstract();
  /// Adds a concrete class that defines its own kTypeName, because other types derive from it.
  template <typename T, typename Parent>
  void add_base();
  /// Another spelling: `-device virtio-blk`.
  void add_alias(std::string alias, std::string name);

  /// Null when unknown. Aliases are followed.
  const Type* find(std::string_view name) const;
  /// Unknown names are an error with the nearest spelling; `kind` is the word in it ("device", "machine").
  Result<const Type*> require(std::string_view name, std::string_view kind = "type") const;
  template <typename T>
  const Type* find() const {
    return find_native(typeid(T));
  }
  enum class Abstract { Skip, Include };
  /// All types below `ancestor` ("" for all), by name.
  std::vector<const Type*> list(std::string_view ancestor = "", Abstract abstract = Abstract::Skip) const;
  /// (alias, name) pairs by alias.
  std::vector<std::pair<std::string, std::string>> aliases() const;

 private:
  friend class ObjectTree;
  Type& insert(std::string name, std::string_view parent, std::type_index native);
  const Type* find_native(std::type_index native) const;
  template <typename T>
  void describe(Type& type, const std::function<void(TypeInfo<T>&)>& more);

  std::map<std::string, std::unique_ptr<Type>, std::less<>> types_;
  std::map<std::string, std::string, std::less<>> aliases_;
  std::unordered_map<std::type_index, const Type*> native_;
};

/// What `describe(TypeInfo<T>&)` can say about any object. hw::DeviceDescription adds IRQ lines and registers.
template <typename T>
class ObjectDescription {
 public:
  explicit ObjectDescription(Type& type) : type_(type) {}
  ObjectDescription(const ObjectDescription&) = delete;
  ObjectDescription& operator=(const ObjectDescription&) = delete;

  const std::string& name() const { return type_.name(); }
  /// One line about the type, for help.
  void doc(std::string text) { type_.doc_ = std::move(text); }

  /// A data member; its initialiser is the default. See PropertyCodec for the types. Member may belong to a base.
  template <typename C, typename V>
    requires(!std::is_function_v<V>)
  Property& property(std::string name, V C::* member, std::string doc) {
    using Codec = PropertyCodec<V>;
    return add_property(
        std::move(name), Codec::type_name(), std::move(doc),
        [member](const Object& o) { return Codec::to(static_cast<const T&>(o).*member); },
        [member](Object& o, const PropertyValue& value) -> Result<void> {
          static_cast<T&>(o).*member = EMU_TRY(Codec::from(value));
          return {};
        });
  }
  /// A getter `V () const` and a setter taking V that returns void or Result<void>.
  template <typename C, typename V, typename D, typename R, typename A>
  Property& property(std::string name, V (C::*get)() const, R (D::*set)(A), std::string doc) {
    using Value = std::remove_cvref_t<V>;
    using Codec = PropertyCodec<Value>;
    return add_property(
        std::move(name), Codec::type_name(), std::move(doc),
        [get](const Object& o) { return Codec::to((static_cast<const T&>(o).*get)()); },
        [set](Object& o, const PropertyValue& value) -> Result<void> {
          Value v = EMU_TRY(Codec::from(value));
          if constexpr (std::is_void_v<R>) {
            (static_cast<T&>(o).*set)(std::move(v));
            return {};
          } else {
            return (static_cast<T&>(o).*set)(std::move(v));
          }
        });
  }
  /// Read-only.
  template <typename C, typename V>
  Property& property(std::string name, V (C::*get)() const, std::string doc) {
    using Codec = PropertyCodec<std::remove_cvref_t<V>>;
    return add_property(std::move(name), Codec::type_name(), std::move(doc),
                        [get](const Object& o) { return Codec::to((static_cast<const T&>(o).*get)()); }, {});
  }

  /// Read-only, computed by a function: for properties whose names are data, such as CPU features.
  Property& computed(std::string name, std::string type_name, std::string doc,
                     std::function<PropertyValue(const T&)> get) {
    return add_property(std::move(name), std::move(type_name), std::move(doc),
                        [get = std::move(get)](const Object& o) { return get(static_cast<const T&>(o)); }, {});
  }

  /// An enum with named values: `.choice("policy", &T::policy_, "TickPolicy", {{"discard", Policy::Discard}}, doc)`.
  template <typename C, typename E>
  Property& choice(std::string name, E C::* member, std::string enum_name,
                   std::vector<std::pair<std::string, E>> values, std::string doc) {
    std::vector<std::string> names = names_of(values);
    Property& added = add_property(
        std::move(name), std::move(enum_name), std::move(doc),
        [member, values](const Object& o) -> PropertyValue {
          for (const auto& [spelling, value] : values) {
            if (value == static_cast<const T&>(o).*member) return spelling;
          }
          return {};
        },
        [member, values](Object& o, const PropertyValue& given) -> Result<void> {
          const auto* text = given.get_if<std::string>();
          for (const auto& [spelling, value] : values) {
            if (text != nullptr && *text == spelling) {
              static_cast<T&>(o).*member = value;
              return {};
            }
          }
          return error("expects one of: {}", fmt::join(names_of(values), ", "));
        });
    return added.choices(std::move(names));
  }

  /// A reference to another object, given as its id or path: `.link("chardev", &T::chardev_, "/chardevs", doc)`.
  /// An id is looked for in `container`, then in /objects and /machine/peripheral; the object must be a Target. The
  /// link does not own, and is null until set. When the target goes away first, its owner must clear the link.
  template <typename C, typename Target>
  Property& link(std::string name, Target* C::* member, std::string container, std::string doc) {
    return add_property(
               std::move(name), fmt::format("link<{}>", link_type_name<Target>()), std::move(doc),
               [member](const Object& o) -> PropertyValue {
                 const Target* target = static_cast<const T&>(o).*member;
                 return target == nullptr ? std::string() : target->path();
               },
               [member, container](Object& o, const PropertyValue& value) -> Result<void> {
                 const auto* text = value.get_if<std::string>();
                 if (text == nullptr) return error("expects an object's id or path");
                 Target* target = nullptr;
                 if (!text->empty()) {
                   target = dynamic_cast<Target*>(EMU_TRY(o.resolve_link(*text, container)));
                   if (target == nullptr) return error("'{}' is not of type {}", *text, link_type_name<Target>());
                 }
                 static_cast<T&>(o).*member = target;
                 return {};
               })
        .mark_link();
  }
  template <typename C, typename Target>
  Property& link(std::string name, Target* C::* member, std::string doc = "") {
    return link(std::move(name), member, "", std::move(doc));
  }

  /// A default for an own or inherited property, for this type and those below it.
  void set_default(std::string property, PropertyValue value) {
    type_.defaults_.emplace_back(std::move(property), std::move(value));
  }

  /// What is saved: a struct member and its field list. `after_load` runs when everything is loaded and checks it.
  /// Each type in a chain of ancestors has its own section. `version` counts incompatible changes, from 1.
  template <typename C, typename S>
  void saved(u32 version, S C::* state, void (*fields)(Archive&, std::type_identity_t<S>&),
             Result<void> (T::*after_load)() = nullptr) {
    set_saved(version, [state, fields](Archive& ar, T& object) { fields(ar, object.*state); }, after_load);
  }
  /// The same with a member function that lists the fields.
  void saved(u32 version, void (T::*fields)(Archive&), Result<void> (T::*after_load)() = nullptr) {
    set_saved(version, [fields](Archive& ar, T& object) { (object.*fields)(ar); }, after_load);
  }

 protected:
  Type& type() { return type_; }

  Property& add_property(std::string name, std::string type_name, std::string doc, Property::Getter getter,
                         Property::Setter setter) {
    EMU_CHECK(type_.find_property(name) == nullptr);
    return type_.properties_.emplace_back(std::move(name), std::move(type_name), std::move(doc), std::move(getter),
                                          std::move(setter));
  }

 private:
  template <typename E>
  static std::vector<std::string> names_of(const std::vector<std::pair<std::string, E>>& values) {
    std::vector<std::string> names;
    for (const auto& entry : values) names.push_back(entry.first);
    return names;
  }
  template <typename Target>
  static std::string link_type_name() {
    if constexpr (requires { Target::kTypeName; }) {
      return Target::kTypeName;
    } else {
      return "object";
    }
  }
  template <typename Fields>
  void set_saved(u32 version, Fields fields, Result<void> (T::*after_load)()) {
    EMU_CHECK(version > 0 && !type_.saved_);
    type_.saved_.emplace();
    type_.saved_->version = version;
    type_.saved_->fields = [fields](Archive& ar, Object& o) { fields(ar, static_cast<T&>(o)); };
    if (after_load != nullptr) {
      type_.saved_->after_load = [after_load](Object& o) { return (static_cast<T&>(o).*after_load)(); };
    }
  }

  Type& type_;
};

/// The argument of `T::describe`. What it can say depends on T's bases: each may widen `Description`.
template <typename T>
class TypeInfo final : public T::template Description<T> {
 public:
  using T::template Description<T>::Description;
};

template <typename T>
void TypeRegistry::describe(Type& type, const std::function<void(TypeInfo<T>&)>& more) {
  TypeInfo<T> info(type);
  if constexpr (requires { T::describe(info); }) T::describe(info);  // false when describe is a base's
  if (more) more(info);
}

template <typename T>
void TypeRegistry::add(std::string name, const std::function<void(TypeInfo<T>&)>& more) {
  Type& type = insert(std::move(name), T::kTypeName, typeid(T));
  type.factory_ = [] { return std::make_unique<T>(); };
  describe<T>(type, more);
}

template <typename T, typename Parent>
void TypeRegistry::add_abstract() {
  Type& type = insert(T::kTypeName, Parent::kTypeName, typeid(T));
  type.abstract_ = true;
  describe<T>(type, {});
}

template <typename T, typename Parent>
void TypeRegistry::add_base() {
  Type& type = insert(T::kTypeName, Parent::kTypeName, typeid(T));
  type.factory_ = [] { return std::make_unique<T>(); };
  describe<T>(type, {});
}

}  // namespace emu::qom
