// swift-tools-version: 6.2
import PackageDescription

/// The benchmarks are a package of their own, so that nobody who uses the libraries builds them.
let package = Package(
  name: "Benchmarks",
  dependencies: [.package(name: "penumbra", path: "..")],
  targets: [
    // The same memory accesses in plain C: what each figure is a multiple of.
    .target(name: "CBaselines", cSettings: [.unsafeFlags(["-O2"])]),
    .executableTarget(
      name: "MMUBenchmarks",
      dependencies: [
        "CBaselines",
        .product(name: "Penumbra", package: "penumbra"),
        .product(name: "SparseMemory", package: "penumbra"),
      ],
      swiftSettings: [.swiftLanguageMode(.v6), .treatAllWarnings(as: .error)]),
  ]
)
