// Layers: what goes in comes out, the same tree is the same id, and damage is found.
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <fstream>
#include <random>
#include <sstream>

#include "sandbox/layers/copy_tree.h"
#include "sandbox/layers/pack.h"
#include "sandbox/support.h"

namespace hadal::sandbox {
namespace {

namespace fs = std::filesystem;

std::string read_all(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

class Layers : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "owners and devices need root";
    if (::system("mkfs.erofs --help >/dev/null 2>&1") != 0) GTEST_SKIP() << "erofs-utils is not installed";
    char name[] = "/tmp/hadal-layers-XXXXXX";
    folder_ = ::mkdtemp(name);
    open();
  }
  void TearDown() override {
    if (folder_.empty()) return;
    (void)::umount2((folder_ + "/m").c_str(), MNT_DETACH);
    fs::remove_all(folder_);
  }
  void open() {
    store_.reset();
    auto opened = LayerFolder::open(folder_ + "/store");
    ASSERT_TRUE(opened) << opened.error().what;
    store_ = std::make_unique<LayerFolder>(std::move(*opened));
  }

  // A tree with one of everything; `order` changes the order in which it is made.
  std::string tree(const std::string& name, bool order) {
    const std::string top = folder_ + "/" + name;
    fs::create_directories(top + "/dir/empty");
    const auto file = [&](const std::string& path, const std::string& text) { std::ofstream(top + path) << text; };
    const std::string big(700'000, 'x'), longest(254, 'n');
    if (order) file("/z", "last"), file("/a", "first");
    file("/dir/big", big);
    file("/dir/" + longest, "long");
    if (!order) file("/a", "first"), file("/z", "last");
    fs::create_hard_link(top + "/a", top + "/dir/hard");
    fs::create_symlink("../a", top + "/dir/link");
    ::mknod((top + "/dir/null").c_str(), S_IFCHR | 0666, makedev(1, 3));
    ::mknod((top + "/gone").c_str(), S_IFCHR, 0);  // a whiteout of overlayfs
    ::mkfifo((top + "/fifo").c_str(), 0600);
    ::chown((top + "/z").c_str(), 1000, 70'000);
    ::chmod((top + "/z").c_str(), 04751);
    ::setxattr((top + "/dir").c_str(), "trusted.overlay.opaque", "y", 1, 0);
    ::setxattr((top + "/a").c_str(), "user.note", "text", 4, 0);
    const struct timespec times[2] = {{1'000'000'000, 0}, {1'234'567'890, 123'456'789}};
    for (const auto& entry : fs::recursive_directory_iterator(top))
      ::utimensat(AT_FDCWD, entry.path().c_str(), times, AT_SYMLINK_NOFOLLOW);
    ::utimensat(AT_FDCWD, top.c_str(), times, 0);
    return top;
  }

  static std::string attribute(const std::string& path, const char* name) {
    char value[100];
    const ssize_t n = ::getxattr(path.c_str(), name, value, sizeof value);
    return n < 0 ? "none" : std::string(value, static_cast<std::size_t>(n));
  }

  void expect_tree(const std::string& at) {
    struct stat a = {}, b = {};
    EXPECT_EQ(read_all(at + "/a"), "first");
    EXPECT_EQ(read_all(at + "/dir/big"), std::string(700'000, 'x'));
    EXPECT_EQ(read_all(at + "/dir/" + std::string(254, 'n')), "long");
    ASSERT_EQ(::lstat((at + "/a").c_str(), &a), 0);
    ASSERT_EQ(::lstat((at + "/dir/hard").c_str(), &b), 0);
    EXPECT_EQ(a.st_ino, b.st_ino);
    EXPECT_EQ(a.st_nlink, 2u);
    EXPECT_EQ(a.st_mtim.tv_sec, 1'234'567'890);
    EXPECT_EQ(a.st_mtim.tv_nsec, 123'456'789);
    EXPECT_EQ(fs::read_symlink(at + "/dir/link"), "../a");
    ASSERT_EQ(::lstat((at + "/dir/null").c_str(), &a), 0);
    EXPECT_EQ(a.st_rdev, makedev(1, 3));
    ASSERT_EQ(::lstat((at + "/gone").c_str(), &a), 0);
    EXPECT_TRUE(S_ISCHR(a.st_mode) && a.st_rdev == 0);
    ASSERT_EQ(::lstat((at + "/fifo").c_str(), &a), 0);
    EXPECT_TRUE(S_ISFIFO(a.st_mode));
    ASSERT_EQ(::lstat((at + "/z").c_str(), &a), 0);
    EXPECT_EQ(a.st_uid, 1000u);
    EXPECT_EQ(a.st_gid, 70'000u);
    EXPECT_EQ(a.st_mode & 07777, 04751u);
    EXPECT_EQ(attribute(at + "/dir", "trusted.overlay.opaque"), "y");
    EXPECT_EQ(attribute(at + "/a", "user.note"), "text");
    EXPECT_TRUE(fs::is_empty(at + "/dir/empty"));
  }

  std::string folder_;
  std::unique_ptr<LayerFolder> store_;
};

TEST_F(Layers, KeepWhatATreeHolds) {
  const auto id = pack_tree(*store_, tree("t", false), {});
  ASSERT_TRUE(id) << id.error().what;
  fs::create_directory(folder_ + "/m");
  for (const bool loop : {false, true}) {
    const Status mounted = mount_layer(store_->meta_path(*id), store_->data_path(*id), folder_ + "/m", loop);
    if (!mounted && mounted.error().code == ErrorCode::kUnsupported) GTEST_SKIP() << mounted.error().what;
    ASSERT_TRUE(mounted) << mounted.error().what;
    expect_tree(folder_ + "/m");
    ::umount2((folder_ + "/m").c_str(), 0);
  }
}

TEST_F(Layers, AreTheSameForTheSameTree) {
  const auto one = pack_tree(*store_, tree("t1", false), {}), two = pack_tree(*store_, tree("t2", true), {});
  ASSERT_TRUE(one && two);
  EXPECT_EQ(*one, *two);
  EXPECT_EQ(store_->list()->size(), 1u);
  std::ofstream(folder_ + "/t2/z") << "Last";
  const auto other = pack_tree(*store_, folder_ + "/t2", {});
  ASSERT_TRUE(other);
  EXPECT_NE(*one, *other);
}

TEST_F(Layers, NamesThatCannotBeKeptAreSaid) {
  fs::create_directory(folder_ + "/t");
  std::ofstream(folder_ + "/t/" + std::string(255, 'n')) << "x";
  const auto id = pack_tree(*store_, folder_ + "/t", {});
  if (id) GTEST_SKIP() << "this mkfs.erofs takes names of 255 bytes";
  EXPECT_EQ(id.error().code, ErrorCode::kUnsupported);
  EXPECT_NE(id.error().what.find("255 bytes"), std::string::npos) << id.error().what;
}

TEST_F(Layers, MayBeEmpty) {
  fs::create_directory(folder_ + "/t");
  const auto id = pack_tree(*store_, folder_ + "/t", {});
  ASSERT_TRUE(id) << id.error().what;
  EXPECT_TRUE(store_->verify(*id));
  fs::create_directory(folder_ + "/m");
  const Status mounted = mount_layer(store_->meta_path(*id), store_->data_path(*id), folder_ + "/m");
  ASSERT_TRUE(mounted) << mounted.error().what;
  EXPECT_TRUE(fs::is_empty(folder_ + "/m"));
}

TEST_F(Layers, CopyATreeAndShiftItsOwners) {
  const std::string from = tree("t", false), to = folder_ + "/copy";
  fs::create_directory(to);
  const auto count = copy_tree(from, to, {});
  ASSERT_TRUE(count) << count.error().what;
  expect_tree(to);
  const std::string shifted = folder_ + "/shifted";
  fs::create_directory(shifted);
  ASSERT_TRUE(copy_tree(from, shifted, {1000, {"dir/*", "a"}}));
  struct stat s = {};
  ASSERT_EQ(::lstat((shifted + "/z").c_str(), &s), 0);
  EXPECT_EQ(s.st_uid, 0u);
  EXPECT_EQ(s.st_gid, 70'000u) << "it belongs to no id of the sandbox";
  EXPECT_TRUE(fs::is_empty(shifted + "/dir"));
  EXPECT_FALSE(fs::exists(shifted + "/a"));
}

TEST_F(Layers, AreImportedFromTarFiles) {
  const std::string from = tree("t", false);
  ASSERT_EQ(::system(("tar --xattrs --xattrs-include='*' -czf " + folder_ + "/t.tgz -C " + from + " .").c_str()), 0);
  const auto id = import_layer(*store_, folder_ + "/t.tgz", LayerKind::kToolkit);
  ASSERT_TRUE(id) << id.error().what;
  EXPECT_EQ(store_->manifest(*id)->source, "tar");
  EXPECT_EQ(store_->manifest(*id)->kind, LayerKind::kToolkit);
  fs::create_directory(folder_ + "/m");
  ASSERT_TRUE(mount_layer(store_->meta_path(*id), store_->data_path(*id), folder_ + "/m"));
  EXPECT_EQ(read_all(folder_ + "/m/a"), "first");
  EXPECT_EQ(attribute(folder_ + "/m/a", "user.note"), "text");

  std::ofstream(folder_ + "/no.tar") << "this is no tar file";
  const auto bad = import_layer(*store_, folder_ + "/no.tar", LayerKind::kBase);
  ASSERT_FALSE(bad);
  EXPECT_EQ(import_layer(*store_, folder_ + "/absent", LayerKind::kBase).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(store_->list()->size(), 1u) << "a failed import leaves no layer";
}

TEST_F(Layers, DamageIsFound) {
  const auto id = pack_tree(*store_, tree("t", false), {});
  ASSERT_TRUE(id);
  ASSERT_TRUE(store_->verify(*id));
  const std::string at = folder_ + "/store/layers/" + *id;
  for (const char* name : {"/meta.erofs", "/data.blob", "/chunks.xxh", "/manifest.json"}) {
    const std::string before = read_all(at + name);
    std::string after = before;
    after[after.size() / 2] = static_cast<char>(after[after.size() / 2] ^ 1);
    std::ofstream(at + name, std::ios::binary) << after;
    const Status found = store_->verify(*id);
    ASSERT_FALSE(found) << name;
    EXPECT_EQ(found.error().code, ErrorCode::kBadInput) << found.error().what;
    std::ofstream(at + name, std::ios::binary) << before;
  }
  EXPECT_TRUE(store_->verify(*id));
  fs::resize_file(at + "/data.blob", 4096);
  EXPECT_EQ(store_->verify(*id).error().code, ErrorCode::kBadInput);
}

TEST_F(Layers, HaveNamesAndAreRemovedFromTheTop) {
  const auto base = pack_tree(*store_, tree("t", false), {});
  PackOptions over;
  over.kind = LayerKind::kDiff;
  ASSERT_TRUE(base);
  over.parents = {*base};
  const auto diff = pack_tree(*store_, folder_ + "/t", over);
  ASSERT_TRUE(diff);
  ASSERT_TRUE(store_->set_name("python-3.11", *base));
  EXPECT_EQ(*store_->resolve("python-3.11"), *base);
  EXPECT_EQ(*store_->resolve(base->substr(0, 12)), *base);
  EXPECT_EQ(store_->resolve("nothing").error().code, ErrorCode::kNotFound);
  EXPECT_EQ(store_->resolve("../../etc").error().code, ErrorCode::kNotFound);
  for (const char* name : {"", ".x", "a/b", "a b"})
    EXPECT_EQ(store_->set_name(name, *base).error().code, ErrorCode::kUsage);
  EXPECT_EQ(store_->remove(*base).error().code, ErrorCode::kBusy);
  EXPECT_TRUE(store_->remove(*diff));
  EXPECT_TRUE(store_->remove(*base));
  EXPECT_EQ(store_->resolve("python-3.11").error().code, ErrorCode::kNotFound);
  EXPECT_TRUE(store_->list()->empty());
}

TEST_F(Layers, AKilledMakerLeavesNothing) {
  fs::create_directory(folder_ + "/store/layers/.new-abcdef");
  fs::create_directory(folder_ + "/store/layers/.gone-x");
  EXPECT_EQ(LayerFolder::open(folder_ + "/store").error().code, ErrorCode::kBusy) << "one process at a time";
  open();
  EXPECT_TRUE(fs::is_empty(folder_ + "/store/layers"));
}

TEST(LayerManifest, IsReadBackOrRefused) {
  LayerManifest m;
  m.kind = LayerKind::kDiff;
  m.parents = {std::string(64, 'a'), std::string(64, 'b')};
  m.meta_digest = std::string(64, 'c');
  m.meta_bytes = 4096;
  m.chunks_digest = std::string(64, 'd');
  m.data_bytes = 1'000'000;
  m.source = "diff";
  m.scrubbed = {"*/.ash_history"};
  m.made = 1'700'000'000;
  const std::string text = to_json(m);
  const auto back = parse_layer_manifest(text);
  ASSERT_TRUE(back) << back.error().what;
  EXPECT_EQ(to_json(*back), text);
  EXPECT_EQ(back->id(), m.id());
  // docs/formats/layer.md: the id leaves out the time, and nothing else.
  EXPECT_EQ(m.id(), "fac41212a9da603766c1b39d3a04ce05215a985ee05a1f7b2915458a02dae4f8");
  m.made = 1;
  EXPECT_EQ(m.id(), back->id());
  // Whatever is changed: an error or a manifest, never a crash.
  std::mt19937 random(7);
  for (int i = 0; i < 20'000; ++i) {
    std::string broken = text;
    for (int n = 0; n < 3; ++n) broken[random() % broken.size()] = static_cast<char>(random());
    if (random() % 4 == 0) broken.resize(random() % broken.size());
    if (const auto read = parse_layer_manifest(broken)) {
      EXPECT_LE(read->parents.size(), 64u);
      EXPECT_GE(read->data_bytes, 0);
    }
  }
}

class LayeredContainer : public ContainerTest {
 protected:
  void SetUp() override {
    if (::system("mkfs.erofs --help >/dev/null 2>&1") != 0) GTEST_SKIP() << "erofs-utils is not installed";
    ContainerTest::SetUp();
    if (!substrate_) return;
    write(image_ + "/etc/motd", "base\n");
    fs::create_directories(image_ + "/opt/old/deep");
    write(image_ + "/opt/old/file", "old\n");
    const auto base = import_layer(layers_->store(), image_, LayerKind::kBase);
    ASSERT_TRUE(base) << base.error().what;
    ASSERT_TRUE(layers_->store().set_name("base", *base));
  }
  CreateSpec layered() const {
    CreateSpec s = spec();
    s.image = "base";
    return s;
  }
};

TEST_F(LayeredContainer, StacksWorkspaceAndToolkits) {
  for (const std::string name : {"work", "kit1", "kit2"}) {
    const std::string top = folder_ + "/" + name;
    fs::create_directories(top + "/etc");
    fs::create_directories(top + "/opt/" + name);
    write(top + "/etc/motd", name + "\n");
    if (name != "kit2") write(top + "/etc/both", name + "\n");
    const auto id = import_layer(layers_->store(), top, LayerKind::kToolkit);
    ASSERT_TRUE(id);
    ASSERT_TRUE(layers_->store().set_name(name, *id));
  }
  CreateSpec s = layered();
  s.workspace = "work";
  s.toolkits = {"kit1", "kit2"};
  create(s);
  EXPECT_EQ(say("cat /etc/motd /etc/both; ls /opt; echo changed > /etc/motd; cat /etc/motd; stat -c %u /etc/passwd"),
            "kit2\nkit1\nkit1\nkit2\nold\nwork\nchanged\n0\n");
  EXPECT_EQ(layers_->remove(*layers_->store().resolve("kit1")).error().code, ErrorCode::kBusy);
  ASSERT_TRUE(box_->close());
  box_.reset();
  EXPECT_TRUE(layers_->remove(*layers_->store().resolve("kit1")));
  s.workspace = "absent";
  EXPECT_EQ(substrate_->create("t9" + unique(), s, phases_).error().code, ErrorCode::kNotFound);
}

TEST_F(LayeredContainer, WhatItChangedBecomesALayer) {
  create(layered());
  const std::string first = box_->id();
  EXPECT_EQ(say("echo new > /etc/new; rm /etc/motd; rm -r /opt/old; mkdir /opt/old; echo n > /opt/old/n;"
                "chown 1000 /etc/new; chmod 640 /etc/new; echo secret > /root/.ash_history; echo k > /opt/skip.log"),
            "");
  DiffRequest request;
  request.name = "solved";
  request.scrub = {"opt/*.log"};
  const auto packed = layers_->pack_diff(first, request, [&](const std::string& folder, const auto& left_out) {
    return box_->copy_changes(folder, left_out);
  });
  ASSERT_TRUE(packed) << packed.error().what;
  EXPECT_GT(packed->copied.files, 3);
  EXPECT_GT(packed->copied.frozen_s, 0);
  EXPECT_EQ(say("cat /etc/new"), "new\n") << "it runs on";
  const auto manifest = layers_->store().manifest(packed->layer);
  ASSERT_TRUE(manifest);
  EXPECT_EQ(manifest->parents, std::vector{*layers_->store().resolve("base")});
  EXPECT_NE(std::find(manifest->scrubbed.begin(), manifest->scrubbed.end(), "opt/*.log"), manifest->scrubbed.end());

  CreateSpec s = layered();
  s.image = "solved";
  create(s, "t2");
  EXPECT_EQ(
      say("cat /etc/new; stat -c '%u %a' /etc/new; ls /opt/old; ls -a /root; ls /opt; test -e /etc/motd || echo gone"),
      "new\n1000 640\nn\n.\n..\nold\ngone\n");
  ASSERT_TRUE(substrate_->destroy(first));
}

TEST_F(LayeredContainer, APlainFolderIsNothingToLieOn) {
  create(spec());
  const auto packed = layers_->pack_diff(box_->id(), {}, [&](const std::string& folder, const auto& left_out) {
    return box_->copy_changes(folder, left_out);
  });
  ASSERT_FALSE(packed);
  EXPECT_EQ(packed.error().code, ErrorCode::kUnsupported) << packed.error().what;
}

TEST_F(LayeredContainer, WhatIsHeldIsKnownToTheNextEdge) {
  create(layered());
  const std::string id = box_->id();
  box_.reset();
  layers_->release(id);  // as a new process, which knows nothing
  auto found = substrate_->adopt(id);
  ASSERT_TRUE(found) << found.error().what;
  box_ = std::move(*found);
  EXPECT_EQ(layers_->remove(*layers_->store().resolve("base")).error().code, ErrorCode::kBusy);
}

}  // namespace
}  // namespace hadal::sandbox
