// SPDX-License-Identifier: Apache-2.0
#include "qom/object.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "qom/type.h"

namespace emu::qom {
namespace {

using testing::HasSubstr;

enum class Policy { Discard, Slew };

class Part : public Object {
 public:
  static constexpr const char* kTypeName = "part";
  static void describe(TypeInfo<Part>& type) {
    type.doc("a part");
    type.property("count", &Part::count_, "how many");
    type.property("size", &Part::size_, "how big").hex();
    type.property("flag", &Part::flag_, "whether");
    type.property("serial", &Part::serial_, "text");
    type.property("mode", &Part::mode_, "on, off or auto");
    type.property("limit", &Part::limit_, "perhaps");
    type.property("late", &Part::late_, "any time").settable_at_runtime();
    type.property("double", &Part::doubled, &Part::set_doubled, "through functions");
    type.property("whole", &Part::whole, "read-only");
    type.choice("policy", &Part::policy_, "Policy", {{"discard", Policy::Discard}, {"slew", Policy::Slew}}, "which");
    type.link("friend", &Part::friend_, "/objects", "another part");
    type.saved(2, &Part::state_, &Part::fields, &Part::after_load);
  }
  void seal() { sealed_ = true; }
  Part* friend_part() { return friend_; }

  struct Inner {
    u16 a = 0;
    bool b = false;
    void fields(Archive& ar) { ar("a", a)("b", b); }
  };
  struct State {
    u8 byte = 0;
    i32 number = 0;
    Policy policy = Policy::Discard;
    std::array<u8, 4> bytes{};
    std::array<Inner, 2> inner{};
    std::vector<u32> queue;
    std::optional<u64> deadline;
    Le32 order = 0;
    u32 added_in_2 = 77;
  };
  State state_;

 protected:
  bool is_sealed() const override { return sealed_; }

 private:
  static void fields(Archive& ar, State& s) {
    ar("byte", s.byte)("number", s.number)("policy", s.policy)("bytes", s.bytes)("inner", s.inner);
    ar.bounded("queue", s.queue, 4)("deadline", s.deadline)("order", s.order);
    ar.since(2)("added", s.added_in_2);
  }
  Result<void> after_load() {
    if (state_.byte > 100) return error("byte too large");
    return {};
  }
  u32 doubled() const { return count_ * 2; }
  Result<void> set_doubled(u32 v) {
    if (v % 2 != 0) return error("odd");
    count_ = u8(v / 2);
    return {};
  }
  u32 whole() const { return 1; }

  u8 count_ = 3;
  Bytes size_{4096};
  bool flag_ = false;
  std::string serial_;
  OnOffAuto mode_ = OnOffAuto::Auto;
  std::optional<u32> limit_;
  u32 late_ = 0;
  Policy policy_ = Policy::Slew;
  Part* friend_ = nullptr;
  bool sealed_ = false;
};

class SpecialPart final : public Part {
 public:
  static void describe(TypeInfo<SpecialPart>& type) {
    type.set_default("count", 9);
    type.property("extra", &SpecialPart::extra_, "more");
  }

 private:
  i16 extra_ = -1;
};

class ObjectTest : public testing::Test {
 protected:
  ObjectTest() {
    registry_.add_base<Part, Object>();
    registry_.add<SpecialPart>("special");
    registry_.add_alias("sp", "special");
    tree_ = std::make_unique<ObjectTree>(registry_);
    part_ = &tree_->container("/objects").adopt("p0", tree_->make<Part>());
  }
  std::string failure(std::string_view name, const PropertyValue& value) {
    auto set = part_->set(name, value);
    EXPECT_FALSE(set.has_value());
    return set ? "" : set.error().text();
  }
  TypeRegistry registry_;
  std::unique_ptr<ObjectTree> tree_;
  Part* part_ = nullptr;
};

TEST_F(ObjectTest, PathNamesAllAncestors) {
  EXPECT_EQ(part_->path(), "/objects/p0");
  EXPECT_EQ(tree_->find("/objects/p0"), part_);
  EXPECT_EQ(tree_->find("/objects/p1"), nullptr);
  EXPECT_EQ(tree_->root().path(), "/");
}

TEST_F(ObjectTest, StarTakesTheFirstFreeNumber) {
  Object& unattached = tree_->container("/machine/unattached");
  auto& first = unattached.adopt("device[*]", tree_->make<Part>());
  auto& second = unattached.adopt("device[*]", tree_->make<Part>());
  EXPECT_EQ(second.path(), "/machine/unattached/device[1]");
  unattached.remove_child(first);
  EXPECT_EQ(unattached.adopt("device[*]", tree_->make<Part>()).name(), "device[0]");
}

TEST_F(ObjectTest, DuplicateNameIsRefused) {
  EXPECT_FALSE(tree_->container("/objects").add_child("p0", tree_->make<Part>()).has_value());
  EXPECT_FALSE(tree_->container("/objects").add_child("a/b", tree_->make<Part>()).has_value());
}

TEST_F(ObjectTest, TextSetsEveryKindOfProperty) {
  for (auto [name, text, shown] : {std::tuple{"count", "0x10", "16"},
                                   {"size", "4K", "4096"},
                                   {"flag", "on", "on"},
                                   {"serial", "abc", "abc"},
                                   {"mode", "off", "off"},
                                   {"limit", "12", "12"},
                                   {"double", "8", "8"},
                                   {"policy", "discard", "discard"}}) {
    auto set = part_->set(name, text);
    ASSERT_TRUE(set.has_value()) << set.error().text();
    EXPECT_EQ(part_->get(name)->text(), shown) << name;
  }
}

TEST_F(ObjectTest, TypedValuesSetProperties) {
  EXPECT_TRUE(part_->set("flag", true).has_value());
  EXPECT_TRUE(part_->set("count", 255).has_value());
  EXPECT_TRUE(part_->set("size", u64(1) << 40).has_value());
}

TEST_F(ObjectTest, WrongValuesSayWhatIsExpected) {
  EXPECT_EQ(failure("count", 256), "Property 'part.count' expects a number from 0 to 255, not '256'");
  EXPECT_EQ(failure("count", -1), "Property 'part.count' expects a number from 0 to 255, not '-1'");
  EXPECT_EQ(failure("flag", "maybe"), "Property 'part.flag' expects 'on' or 'off', not 'maybe'");
  EXPECT_EQ(failure("policy", "x"), "Property 'part.policy' expects one of: discard, slew");
  EXPECT_EQ(failure("double", 3), "Property 'part.double': odd");
  EXPECT_EQ(failure("whole", 3), "Property 'part.whole' is read-only");
  EXPECT_THAT(failure("cuont", 3), HasSubstr("'count'"));
}

TEST_F(ObjectTest, SealedObjectTakesOnlyRuntimeProperties) {
  part_->seal();
  EXPECT_THAT(failure("count", 1), HasSubstr("after it was realized"));
  EXPECT_TRUE(part_->set("late", 1).has_value());
}

TEST_F(ObjectTest, LinkFindsById) {
  auto& other = tree_->container("/objects").adopt("p1", tree_->make<SpecialPart>());
  ASSERT_TRUE(part_->set("friend", "p1").has_value());
  EXPECT_EQ(part_->friend_part(), &other);
  EXPECT_EQ(part_->get("friend")->text(), "/objects/p1");
  EXPECT_THAT(failure("friend", "p11"), HasSubstr("'p1'"));
  EXPECT_THAT(failure("friend", "/machine"), HasSubstr("not of type part"));
}

TEST_F(ObjectTest, DerivedTypeInheritsAndOverridesDefaults) {
  auto object = tree_->create("sp");
  ASSERT_TRUE(object.has_value());
  EXPECT_EQ((*object)->get("count")->text(), "9");
  EXPECT_TRUE((*object)->type().is_a("part"));
  EXPECT_EQ((*object)->type().name(), "special");
}

TEST_F(ObjectTest, GlobalsApplyToDescendants) {
  tree_->add_global("part", "count", "42");
  EXPECT_EQ((*tree_->create("special"))->get("count")->text(), "42");
}

TEST_F(ObjectTest, UnknownAndAbstractTypesAreErrors) {
  auto unknown = tree_->create("specail", "device");
  ASSERT_FALSE(unknown.has_value());
  EXPECT_EQ(unknown.error().message(), "'specail' is not a valid device name");
  EXPECT_THAT(unknown.error().hint(), HasSubstr("special"));
  EXPECT_FALSE(tree_->create("object").has_value());
}

TEST_F(ObjectTest, HelpListsPropertiesWithDefaults) {
  const std::string help = registry_.find("special")->property_help();
  EXPECT_THAT(help, HasSubstr("count=<uint8>"));
  EXPECT_THAT(help, HasSubstr("how many (default: 9)"));
  EXPECT_THAT(help, HasSubstr("(default: 0x1000)"));
}

TEST_F(ObjectTest, StateSurvivesARoundTrip) {
  part_->state_ = {
      .byte = 5, .number = -7, .policy = Policy::Slew, .bytes = {1, 2, 3, 4}, .queue = {8, 9}, .deadline = 3};
  part_->state_.inner[1] = {.a = 12, .b = true};
  part_->state_.order = 0x12345678;
  const FieldTree saved = part_->save();
  part_->state_ = {};
  auto loaded = part_->load(saved);
  ASSERT_TRUE(loaded.has_value()) << loaded.error().text();
  ASSERT_TRUE(part_->finish_load().has_value());
  EXPECT_EQ(part_->save().dump(), saved.dump());
  EXPECT_EQ(part_->state_.inner[1].a, 12);
  EXPECT_EQ(part_->state_.queue, (std::vector<u32>{8, 9}));
}

/// The saved fields of the fixture's part, one of them replaced.
FieldTree with_field(const Part& part, std::string_view name, std::optional<FieldTree> value, u32 version = 2) {
  const FieldTree saved = part.save();
  FieldTree changed{FieldTree::Struct()};
  FieldTree& section = changed.add("part");
  for (const auto& member : *saved.find("part")->get_if<FieldTree::Struct>()) {
    if (member.name == "_version") {
      section.add("_version", FieldTree(u64(version)));
    } else if (member.name != name) {
      section.add(member.name, member.value);
    }
  }
  if (value) section.add(std::string(name), *value);
  return changed;
}

TEST_F(ObjectTest, HostileStateIsRefused) {
  const auto refuse = [&](const FieldTree& state) {
    auto loaded = part_->load(state);
    EXPECT_FALSE(loaded.has_value());
    return loaded ? "" : loaded.error().message();
  };
  EXPECT_EQ(refuse(with_field(*part_, "byte", std::nullopt)), "/objects/p0: part: byte is missing");
  EXPECT_THAT(refuse(with_field(*part_, "byte", FieldTree(u64(256)))), HasSubstr("byte is 0x100, more than 0xff"));
  EXPECT_THAT(refuse(with_field(*part_, "byte", FieldTree(std::string("x")))), HasSubstr("not an unsigned"));
  EXPECT_THAT(refuse(with_field(*part_, "stray", FieldTree(u64(1)))), HasSubstr("stray is not known"));
  EXPECT_THAT(refuse(with_field(*part_, "bytes", FieldTree(FieldTree::ByteString(5)))),
              HasSubstr("5 bytes instead of 4"));
  EXPECT_THAT(refuse(with_field(*part_, "queue", FieldTree(FieldTree::List(5)))), HasSubstr("at most 4"));
  EXPECT_THAT(refuse(with_field(*part_, "queue", FieldTree(FieldTree::List(2)))), HasSubstr("queue[0]"));
  EXPECT_THAT(refuse(with_field(*part_, "", std::nullopt, 3)), HasSubstr("version 3"));
  EXPECT_THAT(refuse(FieldTree()), HasSubstr("no struct"));
}

TEST_F(ObjectTest, OldStateLeavesLaterFieldsAlone) {
  auto loaded = part_->load(with_field(*part_, "added", std::nullopt, 1));
  ASSERT_TRUE(loaded.has_value()) << loaded.error().text();
  EXPECT_EQ(part_->state_.added_in_2, 77u);
}

TEST_F(ObjectTest, AfterLoadChecksTheWhole) {
  ASSERT_TRUE(part_->load(with_field(*part_, "byte", FieldTree(u64(101)))).has_value());
  EXPECT_FALSE(part_->finish_load().has_value());
}

TEST_F(ObjectTest, TreeStateNeedsTheSameObjects) {
  const FieldTree saved = save_tree(tree_->root());
  EXPECT_TRUE(load_tree(tree_->root(), saved).has_value());
  tree_->container("/objects").adopt("p2", tree_->make<Part>());
  EXPECT_FALSE(load_tree(tree_->root(), saved).has_value());
  const FieldTree more = save_tree(tree_->root());
  tree_->container("/objects").remove_child(*tree_->find("/objects/p2"));
  EXPECT_FALSE(load_tree(tree_->root(), more).has_value());
}

}  // namespace
}  // namespace emu::qom
