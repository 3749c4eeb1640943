// SPDX-License-Identifier: Apache-2.0
// The object tree.
#include "qom/object.h"

#include <algorithm>

#include "qom/type.h"
#include "util/string.h"
#include "util/suggest.h"

namespace emu::qom {

namespace {
constexpr std::string_view kAnyNumber = "[*]";
constexpr std::string_view kVersion = "_version";

std::vector<const Type*> chain_of(const Type& type) {
  std::vector<const Type*> chain;
  for (const Type* t = &type; t != nullptr; t = t->parent()) chain.insert(chain.begin(), t);
  return chain;
}
}  // namespace

Object::~Object() {
  // Later children may refer to earlier ones.
  while (!children_.empty()) children_.pop_back();
}

std::string Object::path() const {
  if (parent_ == nullptr) return name_.empty() ? "/" : name_;
  return parent_->parent_ == nullptr ? "/" + name_ : parent_->path() + "/" + name_;
}

Object* Object::child(std::string_view name) const {
  for (const auto& object : children_) {
    if (object->name_ == name) return object.get();
  }
  return nullptr;
}

Result<Object*> Object::add_child(std::string name, std::unique_ptr<Object> object) {
  EMU_CHECK(object != nullptr && object->parent_ == nullptr);
  if (name.empty() || name.find('/') != std::string::npos) return error("'{}' is not a valid object name", name);
  if (name.ends_with(kAnyNumber)) {
    const std::string stem = name.substr(0, name.size() - kAnyNumber.size());
    for (unsigned n = 0;; ++n) {
      name = fmt::format("{}[{}]", stem, n);
      if (child(name) == nullptr) break;
    }
  }
  if (child(name) != nullptr) return error("attempt to add duplicate property '{}' to object at '{}'", name, path());
  object->name_ = std::move(name);
  object->parent_ = this;
  if (object->tree_ == nullptr) object->tree_ = tree_;
  return children_.emplace_back(std::move(object)).get();
}

std::unique_ptr<Object> Object::remove_child(Object& object) {
  auto place = std::find_if(children_.begin(), children_.end(), [&](const auto& c) { return c.get() == &object; });
  EMU_CHECK(place != children_.end());
  auto taken = std::move(*place);
  children_.erase(place);
  taken->parent_ = nullptr;
  return taken;
}

void Object::visit(const std::function<void(Object&)>& visitor) {
  visitor(*this);
  for (size_t i = 0; i < children_.size(); ++i) children_[i]->visit(visitor);
}

Result<void> Object::set(std::string_view property, const PropertyValue& value) {
  const Property* known = EMU_TRY(type_->require_property(property));
  if (is_sealed() && !known->is_runtime_settable() && !known->is_read_only()) {
    return error("Attempt to set property '{}' on device '{}' (type '{}') after it was realized", property, name_,
                 type_->name());
  }
  return known->set(*this, value);
}

Result<PropertyValue> Object::get(std::string_view property) const {
  return EMU_TRY(type_->require_property(property))->get(*this);
}

bool Object::has_saved_state() const {
  for (const Type* type = type_; type != nullptr; type = type->parent_) {
    if (type->saved_) return true;
  }
  return false;
}

FieldTree Object::save() const {
  FieldTree state{FieldTree::Struct()};
  for (const Type* type : chain_of(*type_)) {
    if (!type->saved_) continue;
    FieldTree& section = state.add(type->name_);
    Archive ar = Archive::saver(section, type->saved_->version);
    // Field lists take the state by reference for both directions; saving only reads it.
    type->saved_->fields(ar, const_cast<Object&>(*this));
    section.add(std::string(kVersion), FieldTree(u64(type->saved_->version)));
  }
  return state;
}

Result<void> Object::load(const FieldTree& state) {
  const auto* sections = state.get_if<FieldTree::Struct>();
  if (sections == nullptr) return error("{}: saved state is no struct", path());
  size_t known = 0;
  for (const Type* type : chain_of(*type_)) {
    if (!type->saved_) continue;
    const FieldTree* section = state.find(type->name_);
    if (section == nullptr) return error("{}: saved state of '{}' is missing", path(), type->name_);
    const FieldTree* version_node = section->find(kVersion);
    const u64* version = version_node == nullptr ? nullptr : version_node->get_if<u64>();
    if (version == nullptr || *version == 0 || *version > type->saved_->version) {
      return error("{}: saved state of '{}' has version {}, this program knows 1 to {}", path(), type->name_,
                   version == nullptr ? 0 : *version, type->saved_->version);
    }
    Archive ar = Archive::loader(*section, u32(*version));
    type->saved_->fields(ar, *this);
    EMU_TRY(ar.finish(), fmt::format("{}: {}", path(), type->name_));
    ++known;
  }
  if (sections->size() != known) return error("{}: saved state has sections that '{}' does not", path(), type_->name_);
  return {};
}

Result<void> Object::finish_load() {
  for (const Type* type : chain_of(*type_)) {
    if (type->saved_ && type->saved_->after_load) EMU_TRY(type->saved_->after_load(*this), path());
  }
  return {};
}

Result<Object*> Object::resolve_link(std::string_view text, std::string_view container) const {
  if (tree_ == nullptr) return error("an object outside the tree cannot have links");
  if (text.starts_with('/')) {
    if (Object* found = tree_->find(text)) return found;
    return error(Error(fmt::format("object '{}' not found", text), ErrorClass::DeviceNotFound));
  }
  std::vector<std::string> names;
  for (std::string_view folder : {container, std::string_view("/objects"), std::string_view("/machine/peripheral")}) {
    const Object* place = folder.empty() ? nullptr : tree_->find(folder);
    if (place == nullptr) continue;
    if (Object* found = place->child(text)) return found;
    for (const auto& object : place->children()) names.push_back(object->name());
  }
  return error(Error(fmt::format("object '{}' not found", text), ErrorClass::DeviceNotFound)
                   .with_hint(did_you_mean(text, names)));
}

ObjectTree::ObjectTree(const TypeRegistry& registry) : registry_(registry), root_(make<Container>()) {
  for (const char* path : {"/machine/peripheral", "/machine/peripheral-anon", "/machine/unattached", "/objects",
                           "/chardevs", "/backend"}) {
    container(path);
  }
}

ObjectTree::~ObjectTree() = default;

Object* ObjectTree::find(std::string_view path) const {
  Object* object = root_.get();
  for (std::string_view component : split(path, '/')) {
    if (component.empty()) continue;
    object = object->child(component);
    if (object == nullptr) return nullptr;
  }
  return object;
}

Object& ObjectTree::container(std::string_view path) {
  Object* object = root_.get();
  for (std::string_view component : split(path, '/')) {
    if (component.empty()) continue;
    Object* next = object->child(component);
    object = next != nullptr ? next : &object->adopt(std::string(component), make<Container>());
  }
  return *object;
}

Result<std::unique_ptr<Object>> ObjectTree::create(const Type& type) {
  if (type.is_abstract()) return error("object type '{}' is abstract", type.name());
  auto object = type.create();
  object->tree_ = this;
  for (const Global& global : globals_) {
    if (type.is_a(global.driver)) EMU_TRY(object->set(global.property, global.value), "-global");
  }
  return object;
}

Result<std::unique_ptr<Object>> ObjectTree::create(std::string_view type_name, std::string_view kind) {
  return create(*EMU_TRY(registry_.require(type_name, kind)));
}

std::unique_ptr<Object> ObjectTree::make_native(const std::type_info& native) {
  const Type* type = registry_.find_native(native);
  EMU_CHECK(type != nullptr);  // its register_* function was not called
  auto object = create(*type);
  EMU_CHECK(object.has_value());
  return std::move(*object);
}

void ObjectTree::add_global(std::string driver, std::string property, PropertyValue value) {
  globals_.push_back({std::move(driver), std::move(property), std::move(value)});
}

FieldTree save_tree(Object& root) {
  FieldTree state{FieldTree::Struct()};
  root.visit([&](Object& object) {
    if (object.has_saved_state()) state.add(object.path(), object.save());
  });
  return state;
}

Result<void> load_tree(Object& root, const FieldTree& state) {
  const auto* members = state.get_if<FieldTree::Struct>();
  if (members == nullptr) return error("saved state is no struct");
  std::vector<Object*> objects;
  root.visit([&](Object& object) {
    if (object.has_saved_state()) objects.push_back(&object);
  });
  for (Object* object : objects) {
    const FieldTree* own = state.find(object->path());
    if (own == nullptr) return error("saved state has nothing for '{}'", object->path());
    EMU_TRY(object->load(*own));
  }
  for (const auto& member : *members) {
    const auto same = [&](Object* object) { return object->path() == member.name; };
    if (std::none_of(objects.begin(), objects.end(), same)) {
      return error("saved state is for an object '{}', which this machine does not have", member.name);
    }
  }
  for (Object* object : objects) EMU_TRY(object->finish_load());
  return {};
}

}  // namespace emu::qom
