// smelt devices: what can compute here; and the options that choose.
#include "tools/device.h"

#include <nlohmann/json.hpp>

#include "tools/commands.h"
#include "tools/format.h"
#include "tools/numbers.h"

namespace smelt::tools {
namespace {

std::string DevicesJson(const DeviceList& list) {
  nlohmann::ordered_json devices = nlohmann::ordered_json::array();
  for (const DeviceInfo& device : list.devices) {
    devices.push_back({{"id", device.id},
                       {"name", device.name},
                       {"driver", device.driver},
                       {"software", device.software},
                       {"memory", device.memory},
                       {"checked", device.checked},
                       {"problem", device.problem}});
  }
  return nlohmann::ordered_json{{"devices", std::move(devices)}, {"problem", list.problem}}.dump(
             -1, ' ', false, nlohmann::json::error_handler_t::replace) +
         "\n";
}

std::string DevicesText(const DeviceList& list) {
  std::string text;
  for (const DeviceInfo& device : list.devices) {
    text += Left(device.id, 12) + OneLine(device.name, 100);
    if (device.memory > 0) text += ", " + Bytes(device.memory);
    if (!device.driver.empty()) text += ", " + OneLine(device.driver, 100);
    if (device.software) text += " (software: for tests)";
    if (!device.problem.empty()) text += " (cannot be used: " + OneLine(device.problem, 300) + ")";
    if (device.checked && device.problem.empty()) text += " (passes its self-check)";
    text += "\n";
  }
  if (!list.problem.empty()) text += Left("vulkan", 12) + OneLine(list.problem, 300) + "\n";
  return text;
}

int RunDevices(bool check, Terminal& terminal) {
  const DeviceList list = ListDevices(check);
  terminal.Print(terminal.json() ? DevicesJson(list) : DevicesText(list));
  return kDone;
}

}  // namespace

std::vector<CLI::Option*> AddDevice(CLI::App& command, DeviceOptions& options,
                                    const std::string& what) {
  CLI::Option* device =
      command
          .add_option("--device", options.device,
                      what +
                          (options.device == "cpu" ? ": cpu (default), auto"
                                                   : ": auto (default; a graphics card that "
                                                     "passes its self-check, else cpu), cpu") +
                          ", vulkan, vulkan:NUMBER or vulkan:NAME; `smelt devices` lists them")
          ->type_name("DEVICE");
  CLI::Option* memory =
      command
          .add_option_function<std::string>(
              "--device-memory",
              [&options](const std::string& text) { options.device_memory = *ParseBytes(text); },
              "Use at most so much of the device's memory: 8G, 500M (powers of 1000)")
          ->type_name("SIZE")
          ->check([](const std::string& text) {
            return ParseBytes(text) ? std::string() : NotAllowed(text, "size: write 8G or 500M");
          });
  CLI::Option* unchecked = command.add_flag_callback(
      "--no-device-check", [&options] { options.check = false; },
      "Use a device without having it compute first what the processor computes too");
  return {device, memory, unchecked};
}

void AddGenerationDevice(CLI::App& command, DeviceOptions& options) {
  AddNumber(command, "--device-layers", options.device_layers,
            "Layers on the device, the first ones; the others run on the processor (default: as "
            "many as its memory has room for)",
            {"number from 0 on", 0, 1 << 20});
  AddCacheType(command, options);
}

void AddCacheType(CLI::App& command, DeviceOptions& options) {
  command
      .add_option("--cache-type", options.cache_type,
                  "Keep keys and values as f32 (default), or as f16: half the memory, and less to "
                  "read for each token of a long text")
      ->check(CLI::IsMember({"f32", "f16"}));
}

void AddActivations(CLI::App& command, Activations& activations) {
  command
      .add_option_function<std::string>(
          "--activations",
          [&activations](const std::string& text) {
            activations = text == "q8" ? Activations::kQ8 : Activations::kF32;
          },
          "q8 (rounded to 8 bits: fast, as llama.cpp; default on the processor), or f32 (exact; "
          "default on a device)")
      ->check(CLI::IsMember({"q8", "f32"}));
}

void AddNoRepack(CLI::App& command, bool& repack) {
  command.add_flag_callback(
      "--no-repack", [&repack] { repack = false; },
      "Leave the weights as the file has them: begins sooner and takes less memory, but generates "
      "slower");
}

void AddDevices(CLI::App& app, Invocation& invocation) {
  CLI::App* command = app.add_subcommand("devices", "What can compute here, for --device");
  command->footer(
      "Graphics cards are used through Vulkan: of their drivers, any for Vulkan 1.2 will do.\n"
      "Before a command uses one, it must compute a small layer as the processor does: --check\n"
      "tells which do.\n"
      "--json: devices, a list of id, name, driver, software, memory, checked, problem; problem.\n"
      "Examples:\n"
      "  smelt devices --check\n"
      "  smelt eval model.gguf --text eval.txt --device cpu\n"
      "  smelt run model.gguf \"Once upon a time\" --device vulkan:RTX");
  static bool check = false;
  command->add_flag("--check", check, "Have every device compute what the processor computes");
  AddGlobals(*command, invocation);
  command->callback([&invocation] {
    invocation.run = [](Terminal& terminal) { return RunDevices(check, terminal); };
  });
}

}  // namespace smelt::tools
