// swift-tools-version: 6.2
import PackageDescription

/// How every Swift target of the house is compiled.
///
/// - `strictMemorySafety`: each unsafe construct is spelled `unsafe` at the place it is used.
/// - `treatAllWarnings(as: .error)`: a warning does not land.
/// - `ExistentialAny`: an existential is visible as `any`; the core has none.
/// - `InternalImportsByDefault`: a `public import` shows a lower floor that leaks into a face.
/// - `MemberImportVisibility`: a file names every module whose members it uses.
let house: [SwiftSetting] = [
  .swiftLanguageMode(.v6),
  .strictMemorySafety(),
  .treatAllWarnings(as: .error),
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("InternalImportsByDefault"),
  .enableUpcomingFeature("MemberImportVisibility"),
  .define("MUTATIONS", .when(traits: ["Mutations"])),
]

/// A room of the house: a target on a floor, importing only lower floors.
func room(_ name: String, _ dependencies: [String] = []) -> Target {
  .target(
    name: name, dependencies: dependencies.map { .target(name: $0) }, swiftSettings: house)
}

/// The tests of one room.
func tests(
  of name: String, also dependencies: [String] = [], resources: [Resource] = []
) -> Target {
  .testTarget(
    name: "\(name)Tests",
    dependencies: ([name] + dependencies).map { .target(name: $0) },
    resources: resources, swiftSettings: house)
}

let package = Package(
  name: "penumbra",
  products: [
    .library(
      name: "Penumbra",
      targets: [
        "PagingUnits", "X86Paging", "HostMemory", "MachineEvents", "PageTables", "GuestMemory",
        "HardwareModel", "DirectMMU", "ShadowMMU", "SubpageProtection", "VirtualMachine",
      ]),
    .library(name: "SparseMemory", targets: ["SparseMemory"]),
    .executable(name: "penumbra", targets: ["CommandLineTool"]),
  ],
  traits: [
    .trait(
      name: "Mutations",
      description:
        "Puts known bugs back, one at a time, to see that the checks notice. Not for use.")
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
    .package(url: "https://github.com/jpsim/Yams", from: "6.2.2"),
  ],
  targets: [
    // Floor 0
    room("PagingUnits"),
    room("Mutations"),
    // Floor 1
    room("X86Paging", ["PagingUnits", "Mutations"]),
    room("HostMemory", ["PagingUnits", "Mutations"]),
    room("MachineEvents", ["PagingUnits"]),
    // Floor 2
    room("PageTables", ["PagingUnits", "Mutations", "X86Paging", "HostMemory", "MachineEvents"]),
    room("GuestMemory", ["PagingUnits", "Mutations", "HostMemory", "MachineEvents"]),
    room("HardwareModel", ["PagingUnits", "HostMemory", "MachineEvents"]),
    room("EventSources", ["PagingUnits", "X86Paging"]),
    room("Reports", ["PagingUnits", "X86Paging", "MachineEvents"]),
    // Floor 3
    room(
      "DirectMMU",
      [
        "PagingUnits", "Mutations", "X86Paging", "HostMemory", "MachineEvents", "PageTables",
        "GuestMemory",
      ]),
    room(
      "ShadowMMU",
      [
        "PagingUnits", "Mutations", "X86Paging", "HostMemory", "MachineEvents", "PageTables",
        "GuestMemory",
      ]),
    room(
      "SubpageProtection",
      [
        "PagingUnits", "Mutations", "HostMemory", "MachineEvents", "PageTables", "GuestMemory",
      ]),
    // Floor 5
    room(
      "VirtualMachine",
      [
        "PagingUnits", "Mutations", "X86Paging", "HostMemory", "MachineEvents", "PageTables",
        "GuestMemory",
        "HardwareModel", "DirectMMU", "ShadowMMU", "SubpageProtection",
      ]),
    // Floor 6
    room("SparseMemory", ["HostMemory"]),
    // Unicorn's functions, found at run time (decision record 0003): nothing is linked.
    .target(name: "CUnicorn"),
    room("GuestProcessor", ["PagingUnits", "HostMemory", "CUnicorn"]),
    room(
      "MachineChecks",
      [
        "PagingUnits", "X86Paging", "HostMemory", "MachineEvents", "PageTables", "GuestMemory",
        "HardwareModel", "DirectMMU", "ShadowMMU", "SubpageProtection", "VirtualMachine",
      ]),
    // Floor 7
    room(
      "GuestRunner",
      [
        "PagingUnits", "HostMemory", "MachineEvents", "PageTables", "GuestMemory", "HardwareModel",
        "DirectMMU", "SubpageProtection", "VirtualMachine", "SparseMemory", "GuestProcessor",
        "MachineChecks", "X86Paging",
      ]),
    .target(
      name: "MachineSimulation",
      dependencies: [
        "PagingUnits", "X86Paging", "HostMemory", "MachineEvents", "PageTables", "GuestMemory",
        "HardwareModel", "EventSources", "Reports", "DirectMMU", "SubpageProtection",
        "VirtualMachine", "SparseMemory", "MachineChecks", .product(name: "Yams", package: "Yams"),
      ],
      swiftSettings: house),
    // The guest that ships inside the executable.
    .target(name: "CDemonstrationGuest"),
    // Roof
    .executableTarget(
      name: "CommandLineTool",
      dependencies: [
        "PagingUnits", "X86Paging", "MachineEvents", "EventSources", "Reports", "MachineChecks",
        "GuestRunner", "MachineSimulation", "VirtualMachine", "CDemonstrationGuest", "Mutations",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ],
      swiftSettings: house),
    // Tests
    tests(
      of: "MachineChecks",
      also: [
        "DirectMMU", "GuestMemory", "HardwareModel", "HostMemory", "MachineEvents", "PageTables",
        "PagingUnits", "SparseMemory", "VirtualMachine", "X86Paging",
      ]),
    tests(of: "X86Paging", also: ["PagingUnits"]),
    tests(of: "HostMemory", also: ["PagingUnits", "SparseMemory"]),
    tests(of: "GuestMemory", also: ["PagingUnits", "HostMemory", "MachineEvents"]),
    tests(of: "HardwareModel", also: ["PagingUnits", "HostMemory", "SparseMemory"]),
    tests(
      of: "VirtualMachine",
      also: [
        "DirectMMU", "GuestMemory", "HardwareModel", "HostMemory", "MachineEvents", "PageTables",
        "PagingUnits", "MachineChecks", "SparseMemory", "SubpageProtection",
      ]),
    tests(
      of: "EventSources", also: ["PagingUnits", "X86Paging"], resources: [.copy("Resources")]),
    tests(
      of: "Reports", also: ["PagingUnits", "X86Paging", "MachineEvents"],
      resources: [.copy("Resources")]),
    tests(
      of: "CommandLineTool", also: ["PagingUnits"], resources: [.copy("Resources")]),
    .testTarget(name: "TidyTests", swiftSettings: house),
    .testTarget(
      name: "MutationTests", dependencies: ["MachineSimulation", "Mutations"],
      swiftSettings: house),
    tests(of: "PageTables", also: ["HostMemory", "MachineEvents", "PagingUnits", "SparseMemory"]),
    tests(
      of: "ShadowMMU",
      also: [
        "DirectMMU", "GuestMemory", "HardwareModel", "HostMemory", "MachineChecks",
        "MachineEvents", "PageTables", "PagingUnits", "SparseMemory", "VirtualMachine",
        "X86Paging",
      ]),
    tests(of: "GuestProcessor", also: ["PagingUnits", "HostMemory", "SparseMemory"]),
    .testTarget(name: "GuestsTests", swiftSettings: house),
    tests(
      of: "MachineSimulation",
      also: [
        "PagingUnits", "HostMemory", "MachineEvents", "PageTables", "GuestMemory", "DirectMMU",
        "HardwareModel", "VirtualMachine", "SparseMemory", "MachineChecks", "SubpageProtection",
      ], resources: [.copy("Resources")]),
    tests(
      of: "GuestRunner", also: ["GuestProcessor", "MachineEvents", "PagingUnits", "VirtualMachine"]),
  ],
  swiftLanguageModes: [.v6]
)
