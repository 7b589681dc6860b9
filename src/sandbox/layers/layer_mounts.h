// Layers as folders of this host: each is mounted once, read-only, and shared by every sandbox that lies on it.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "sandbox/api.h"
#include "sandbox/layers/layer_folder.h"

namespace hadal::sandbox {

class LayerMounts final : public LayerStore {
 public:
  // `folder` holds the mount points. Mounts outlive the process, like the sandboxes on them, and are found again.
  static Result<std::shared_ptr<LayerMounts>> open(LayerFolder store, std::string folder);

  const LayerFolder& store() const { return store_; }

  Result<LayerStack> mount(const CreateSpec& spec, const std::string& sandbox) override;
  void hold(const std::string& sandbox, const std::vector<std::string>& layers) override;
  void release(const std::string& sandbox) override;
  Result<DiffLayer> pack_diff(const std::string& sandbox, const DiffRequest& request, const CopyChanges& copy) override;

  // Unmounts and removes. kBusy when a sandbox or another layer lies on it.
  Status remove(const std::string& id);
  void unmount_all();

 private:
  LayerMounts(LayerFolder store, std::string folder) : store_(std::move(store)), folder_(std::move(folder)) {}
  Result<std::string> folder_of(const std::string& id);  // mounts it if it is not
  LayerFolder store_;
  std::string folder_;
  std::mutex mutex_;
  std::map<std::string, std::vector<std::string>> held_;  // by sandbox; empty when its image is a plain folder
};

// Mounts metadata and data as an EROFS file system, through loop devices where the kernel (before 6.12) cannot mount
// files or `loop` asks for it. kIo, kUnsupported.
Status mount_layer(const std::string& meta, const std::string& data, const std::string& place, bool loop = false);

}  // namespace hadal::sandbox
