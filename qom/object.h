// SPDX-License-Identifier: Apache-2.0
// Objects with a name, a type and a parent that owns them; and the tree that holds them all.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qom/archive.h"
#include "qom/property.h"
#include "util/result.h"

namespace emu::qom {

class ObjectTree;
class Type;
class TypeRegistry;
template <typename T>
class TypeInfo;
template <typename T>
class ObjectDescription;

/// Base of everything that has properties and a place in the tree. Constructors cannot fail and touch nothing outside:
/// they also run for help texts. Main thread or machine lock for all of it.
class Object {
 public:
  static constexpr const char* kTypeName = "object";
  /// What `describe` may say; a derived base class widens it by naming its own template here.
  template <typename T>
  using Description = ObjectDescription<T>;

  Object() = default;
  Object(const Object&) = delete;
  Object& operator=(const Object&) = delete;
  virtual ~Object();

  const Type& type() const { return *type_; }
  /// The last component of the path; "" for the root and for an object outside the tree.
  const std::string& name() const { return name_; }
  Object* parent() const { return parent_; }
  /// "/machine/unattached/device[3]".
  std::string path() const;
  /// The tree that made it. An object made without one (for help) has none.
  ObjectTree* tree() const { return tree_; }

  const std::vector<std::unique_ptr<Object>>& children() const { return children_; }
  Object* child(std::string_view name) const;
  /// Takes ownership. The name must be free and without '/'; "device[*]" takes the first free number.
  Result<Object*> add_child(std::string name, std::unique_ptr<Object> object);
  /// For a name of our own that cannot be taken: returns the object with its type.
  template <typename T>
  T& adopt(std::string name, std::unique_ptr<T> object) {
    T& reference = *object;
    EMU_CHECK(add_child(std::move(name), std::move(object)).has_value());
    return reference;
  }
  /// Takes a child out of the tree.
  std::unique_ptr<Object> remove_child(Object& object);
  /// Visits this object and all below it, parents first.
  void visit(const std::function<void(Object&)>& visitor);

  /// Sets one property from text ("on", "4K", "0x3f8") or from a typed value.
  /// Errors: no such property (with the nearest spelling), read-only, wrong value, or not after realize.
  Result<void> set(std::string_view property, const PropertyValue& value);
  Result<PropertyValue> get(std::string_view property) const;

  /// Saved state of this object alone: one section a type of its chain that has any.
  FieldTree save() const;
  /// Loads what save() gave; finish_load() must follow, once all objects are loaded: it runs the after_load functions.
  Result<void> load(const FieldTree& state);
  Result<void> finish_load();
  bool has_saved_state() const;

  /// Finds the target of a link property: an absolute path, or an id in `container`, /objects or /machine/peripheral.
  Result<Object*> resolve_link(std::string_view text, std::string_view container) const;

 protected:
  /// True once properties are frozen, except those settable at run time.
  virtual bool is_sealed() const { return false; }

 private:
  friend class ObjectTree;
  friend class Type;

  const Type* type_ = nullptr;
  ObjectTree* tree_ = nullptr;
  Object* parent_ = nullptr;
  std::string name_;
  std::vector<std::unique_ptr<Object>> children_;
};

/// A plain folder of the tree.
class Container final : public Object {};

/// The object tree of one machine: /machine/{peripheral,peripheral-anon,unattached}, /objects, /chardevs, /backend.
class ObjectTree {
 public:
  explicit ObjectTree(const TypeRegistry& registry);
  ~ObjectTree();

  const TypeRegistry& registry() const { return registry_; }
  Object& root() { return *root_; }
  /// The object at an absolute path, or null.
  Object* find(std::string_view path) const;
  /// The folder at `path`, made if absent.
  Object& container(std::string_view path);

  /// A fresh object of a registered type, with type defaults and globals applied; not yet in the tree.
  Result<std::unique_ptr<Object>> create(std::string_view type_name, std::string_view kind = "type");
  Result<std::unique_ptr<Object>> create(const Type& type);
  /// The same by C++ class; the class must have been registered (under one name, or the first one counts).
  template <typename T>
  std::unique_ptr<T> make() {
    return std::unique_ptr<T>(static_cast<T*>(make_native(typeid(T)).release()));
  }

  /// `-global driver.property=value`: applies to objects created later whose type is or descends from `driver`.
  void add_global(std::string driver, std::string property, PropertyValue value);

 private:
  std::unique_ptr<Object> make_native(const std::type_info& native);
  struct Global {
    std::string driver, property;
    PropertyValue value;
  };
  const TypeRegistry& registry_;
  std::vector<Global> globals_;
  std::unique_ptr<Object> root_;
};

/// Saves every object below `root` that has state, by path; and loads it. An object without saved state, or saved
/// state without an object, is an error; after_load runs for all in tree order once everything is in.
FieldTree save_tree(Object& root);
Result<void> load_tree(Object& root, const FieldTree& state);

}  // namespace emu::qom
