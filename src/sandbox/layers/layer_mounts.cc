#include "sandbox/layers/layer_mounts.h"

#include <fcntl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/vfs.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "sandbox/fd.h"
#include "sandbox/layers/pack.h"

namespace hadal::sandbox {
namespace {

namespace fs = std::filesystem;

constexpr unsigned kErofsMagic = 0xE0F5E1E2;  // statfs of a mounted one
constexpr unsigned long kFlags = MS_RDONLY | MS_NOSUID | MS_NODEV;

// Histories hold what was typed, secrets among it, and nothing that a later sandbox needs.
constexpr const char* kAlwaysScrubbed[] = {"*/.ash_history", "*/.bash_history", "*/.python_history",
                                           "*/.node_repl_history"};

bool is_mounted(const std::string& place) {
  struct statfs s = {};
  return ::statfs(place.c_str(), &s) == 0 && static_cast<unsigned>(s.f_type) == kErofsMagic;
}

// A read-only loop device over a file. It goes by itself when the last mount of it does.
struct Loop {
  Fd fd;
  std::string path;
};
Result<Loop> loop_over(const std::string& file) {
  const Fd backing(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
  const Fd control(::open("/dev/loop-control", O_RDWR | O_CLOEXEC));
  if (!backing) return fail(ErrorCode::kIo, "{}: {}", file, std::strerror(errno));
  if (!control) return fail(ErrorCode::kUnsupported, "/dev/loop-control: {}", std::strerror(errno));
  // Another process may take the free one first.
  for (int attempt = 0; attempt < 100; ++attempt) {
    const int n = ::ioctl(control.get(), LOOP_CTL_GET_FREE);
    if (n < 0) break;
    Loop loop;
    loop.path = fmt::format("/dev/loop{}", n);
    loop.fd = Fd(::open(loop.path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!loop.fd) break;
    struct loop_config config = {};
    config.fd = static_cast<__u32>(backing.get());
    config.info.lo_flags = LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR;
    if (::ioctl(loop.fd.get(), LOOP_CONFIGURE, &config) == 0) return loop;
    if (errno != EBUSY) break;
  }
  return fail(ErrorCode::kIo, "no loop device for {}: {}", file, std::strerror(errno));
}

}  // namespace

Status mount_layer(const std::string& meta, const std::string& data, const std::string& place, bool loop) {
  if (data.find(',') != std::string::npos)
    return fail(ErrorCode::kUsage, "{}: a folder with a comma in its path cannot hold layers", data);
  if (!loop) {
    if (::mount(meta.c_str(), place.c_str(), "erofs", kFlags, ("device=" + data).c_str()) == 0) return {};
    if (errno == ENODEV) return fail(ErrorCode::kUnsupported, "this kernel has no EROFS; modprobe erofs");
    if (errno != ENOTBLK && errno != EINVAL)
      return fail(ErrorCode::kIo, "cannot mount {}: {}", meta, std::strerror(errno));
  }
  const Loop first = HADAL_TRY(loop_over(meta)), second = HADAL_TRY(loop_over(data));
  if (::mount(first.path.c_str(), place.c_str(), "erofs", kFlags, ("device=" + second.path).c_str()) != 0)
    return fail(errno == ENODEV ? ErrorCode::kUnsupported : ErrorCode::kIo, "cannot mount {} by {}: {}", meta,
                first.path, std::strerror(errno));
  return {};
}

Result<std::shared_ptr<LayerMounts>> LayerMounts::open(LayerFolder store, std::string folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) return fail(ErrorCode::kIo, "cannot make {}: {}", folder, error.message());
  fs::permissions(folder, fs::perms::owner_all, error);
  return std::shared_ptr<LayerMounts>(new LayerMounts(std::move(store), std::move(folder)));
}

Result<LayerStack> LayerMounts::mount(const CreateSpec& spec, const std::string& sandbox) {
  LayerStack stack;
  const auto lay = [&](const std::string& word) -> Status {
    const std::string id = HADAL_TRY(store_.resolve(word));
    const LayerManifest m = HADAL_TRY(store_.manifest(id));
    stack.layers.push_back(id);
    stack.layers.insert(stack.layers.end(), m.parents.begin(), m.parents.end());
    return {};
  };
  for (auto toolkit = spec.toolkits.rbegin(); toolkit != spec.toolkits.rend(); ++toolkit) HADAL_CHECK_OK(lay(*toolkit));
  if (!spec.workspace.empty()) HADAL_CHECK_OK(lay(spec.workspace));
  const bool plain = spec.image.starts_with("/");
  if (!plain) HADAL_CHECK_OK(lay(spec.image));
  // Overlay refuses the same folder twice, and the upper one hides all of the lower.
  std::vector<std::string> once;
  for (const std::string& id : stack.layers)
    if (std::find(once.begin(), once.end(), id) == once.end()) once.push_back(id);
  stack.layers = std::move(once);
  for (const std::string& id : stack.layers) stack.folders.push_back(HADAL_TRY(folder_of(id)));
  if (plain) {
    std::error_code ignored;
    if (!fs::is_directory(spec.image, ignored))
      return fail(ErrorCode::kNotFound, "image {} is not a directory on this host", spec.image);
    stack.folders.push_back(spec.image);
  }
  const std::lock_guard lock(mutex_);
  held_[sandbox] = plain ? std::vector<std::string>() : stack.layers;
  return stack;
}

Result<std::string> LayerMounts::folder_of(const std::string& id) {
  const std::lock_guard lock(mutex_);
  const std::string place = folder_ + "/" + id;
  if (is_mounted(place)) return place;
  HADAL_TRY(store_.manifest(id));  // not there, or not what its id says
  std::error_code error;
  fs::create_directories(place, error);
  if (error) return fail(ErrorCode::kIo, "cannot make {}: {}", place, error.message());
  HADAL_CHECK_OK(mount_layer(store_.meta_path(id), store_.data_path(id), place));
  return place;
}

void LayerMounts::hold(const std::string& sandbox, const std::vector<std::string>& layers) {
  const std::lock_guard lock(mutex_);
  held_[sandbox] = layers;
}

void LayerMounts::release(const std::string& sandbox) {
  const std::lock_guard lock(mutex_);
  held_.erase(sandbox);
}

Result<DiffLayer> LayerMounts::pack_diff(const std::string& sandbox, const DiffRequest& request,
                                         const CopyChanges& copy) {
  if (!request.name.empty()) HADAL_CHECK_OK(check_layer_name(request.name));
  PackOptions options;
  options.kind = LayerKind::kDiff;
  options.source = "diff";
  {
    const std::lock_guard lock(mutex_);
    if (const auto it = held_.find(sandbox); it != held_.end()) options.parents = it->second;
  }
  if (options.parents.empty())
    return fail(ErrorCode::kUnsupported,
                "pack_diff: the image of sandbox {} is a plain folder, which may change; import it as a layer first",
                sandbox);
  for (const char* pattern : kAlwaysScrubbed) options.scrubbed.emplace_back(pattern);
  options.scrubbed.insert(options.scrubbed.end(), request.scrub.begin(), request.scrub.end());
  const std::string place = HADAL_TRY(store_.workplace());
  auto packed = [&]() -> Result<DiffLayer> {
    DiffLayer made;
    made.copied = HADAL_TRY(copy(place, options.scrubbed));
    made.layer = HADAL_TRY(pack_tree(store_, place, options));
    if (!request.name.empty()) HADAL_CHECK_OK(store_.set_name(request.name, made.layer));
    return made;
  }();
  std::error_code ignored;
  fs::remove_all(place, ignored);
  return packed;
}

Status LayerMounts::remove(const std::string& id) {
  const std::lock_guard lock(mutex_);
  std::int64_t sandboxes = 0;
  for (const auto& [sandbox, layers] : held_) sandboxes += std::count(layers.begin(), layers.end(), id);
  if (sandboxes > 0) return fail(ErrorCode::kBusy, "{} sandboxes lie on layer {:.12}; close them first", sandboxes, id);
  HADAL_CHECK_OK(store_.remove(id));
  const std::string place = folder_ + "/" + id;
  if (is_mounted(place)) (void)::umount2(place.c_str(), MNT_DETACH);
  std::error_code ignored;
  fs::remove(place, ignored);
  return {};
}

void LayerMounts::unmount_all() {
  const std::lock_guard lock(mutex_);
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder_, error))
    if (is_mounted(entry.path())) (void)::umount2(entry.path().c_str(), MNT_DETACH);
}

}  // namespace hadal::sandbox
