// Devices for RUN: `RUN --device` names a device of the Container Device Interface (CDI), described
// by JSON files in /etc/cdi and /run/cdi; `--device SRC[:DST[:rwm]]` of the command line names a
// node of the host (dockerfile.md 3.7, cli.md 9.1).
#pragma once

#include <string>
#include <vector>

#include "runtime/spec.h"

namespace img::builder {

struct DeviceRequest {
  std::string name;  // vendor.com/class=device
  bool isRequired = false;
};

// `NAME[,required]` or `name=NAME,required=BOOL`.
DeviceRequest parseDeviceRequest(const std::string& text);

// Where CDI files are; later folders win.
std::vector<std::string> cdiFolders();

// Adds what the device needs to `spec`. A device that nobody describes is ignored unless it is
// required.
void addCdiDevice(runtime::Spec& spec, const DeviceRequest& device,
                  const std::vector<std::string>& folders);
// A node of the host, or a CDI name, which is then required.
void addHostDevice(runtime::Spec& spec, const std::string& text,
                   const std::vector<std::string>& folders);

}  // namespace img::builder
