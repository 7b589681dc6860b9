#include "sandbox/layers/pack.h"

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "sandbox/layers/command.h"

namespace hadal::sandbox {
namespace {

namespace fs = std::filesystem;

// A folder that goes with the scope.
class Place {
 public:
  explicit Place(std::string path) : path_(std::move(path)) {}
  Place(const Place&) = delete;
  Place& operator=(const Place&) = delete;
  ~Place() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// The digest and the tag of the one image that is meant.
Result<std::pair<std::string, std::string>> oci_image(const std::string& folder, const std::string& tag) {
  const auto index = nlohmann::json::parse(std::ifstream(folder + "/index.json"), nullptr, false);
  if (!index.is_object() || !index.contains("manifests") || !index["manifests"].is_array())
    return fail(ErrorCode::kBadInput, "{}/index.json is not an OCI index", folder);
  std::vector<std::pair<std::string, std::string>> found;
  std::string tags;
  for (const auto& m : index["manifests"]) {
    if (!m.is_object() || !m.contains("digest") || !m["digest"].is_string()) continue;
    const auto notes = m.find("annotations");
    std::string name;
    if (notes != m.end() && notes->is_object())
      if (const auto it = notes->find("org.opencontainers.image.ref.name"); it != notes->end() && it->is_string())
        name = it->get<std::string>();
    tags += " " + name;
    if (tag.empty() || tag == name) found.emplace_back(m["digest"].get<std::string>(), name);
  }
  if (found.empty()) return fail(ErrorCode::kNotFound, "{} has no image '{}'; it has:{}", folder, tag, tags);
  if (found.size() > 1)
    return fail(ErrorCode::kUsage, "{} has several images; name one of{} after a colon", folder, tags);
  return found[0];
}

}  // namespace

Result<std::string> pack_tree(const LayerFolder& store, const std::string& tree, const PackOptions& options) {
  const Place place(HADAL_TRY(store.workplace()));
  const std::string meta = place.path() + "/meta.erofs", data = place.path() + "/data.blob";
  // Files share equal pieces of 64 KiB. A fixed name and the year 2100 as "now" leave nothing of this moment in the
  // image; files keep the times they have.
  const Status made = run_program({"mkfs.erofs", "--quiet", "-U", "00000000-0000-0000-0000-000000000000",
                                   "--preserve-mtime", "--chunksize=65536", "--blobdev=" + data, meta, tree},
                                  "erofs-utils", {"SOURCE_DATE_EPOCH=4102444800"});
  std::error_code error;
  if (!made) {
    // Version 1.5 cuts the last byte off such a name, and then says that the file is not there.
    for (const auto& entry : fs::recursive_directory_iterator(tree, error))
      if (entry.path().filename().string().size() == 255)
        return fail(ErrorCode::kUnsupported, "{}: its name has 255 bytes, one more than this mkfs.erofs can keep",
                    entry.path().string());
    return std::unexpected(made.error());
  }
  if (fs::file_size(data, error) == 0) fs::resize_file(data, 4096, error);  // a device of no block cannot be mounted
  if (error) return fail(ErrorCode::kIo, "{}: {}", data, error.message());
  LayerManifest m;
  m.kind = options.kind;
  m.parents = options.parents;
  m.source = options.source;
  m.scrubbed = options.scrubbed;
  return store.add(place.path(), m);
}

Result<std::string> import_layer(const LayerFolder& store, const std::string& from, LayerKind kind) {
  PackOptions options;
  options.kind = kind;
  std::error_code error;
  std::string folder = from, tag;
  if (const auto colon = from.rfind(':'); colon != std::string::npos && !fs::exists(from, error)) {
    folder = from.substr(0, colon);
    tag = from.substr(colon + 1);
  }
  if (fs::is_directory(folder, error) && fs::exists(folder + "/oci-layout", error)) {
    const auto image = HADAL_TRY(oci_image(folder, tag));
    const Place place(HADAL_TRY(store.workplace()));
    const std::string bundle = place.path() + "/bundle";
    if (image.second.empty())
      return fail(ErrorCode::kUnsupported, "{}: the image has no tag; give it one with 'umoci tag'", folder);
    HADAL_CHECK_OK(run_program({"umoci", "unpack", "--image", folder + ":" + image.second, bundle}, "umoci"));
    options.source = "oci " + image.first;
    return pack_tree(store, bundle + "/rootfs", options);
  }
  if (fs::is_directory(from, error)) return pack_tree(store, from, options);
  if (!fs::is_regular_file(from, error))
    return fail(ErrorCode::kNotFound, "{} is neither a folder nor a tar file", from);
  const Place place(HADAL_TRY(store.workplace()));
  const std::string tree = place.path() + "/tree";
  fs::create_directory(tree, error);
  HADAL_CHECK_OK(run_program(
      {"tar", "--numeric-owner", "--same-owner", "--xattrs", "--xattrs-include=*", "-xpf", from, "-C", tree}, "tar"));
  options.source = "tar";
  return pack_tree(store, tree, options);
}

}  // namespace hadal::sandbox
