import Foundation
import GuestProcessor
import GuestRunner
import PagingUnits
import Testing
import VirtualMachine

@Suite("The guests that ship with the project") struct PrebuiltGuestTests {
  /// The folder `Guests`, found from this file.
  private static let folder = URL(fileURLWithPath: #filePath)
    .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
    .appendingPathComponent("Guests")

  @Test("the guests are found, so that the other test looks at something")
  func found() { #expect(Self.names.count >= 13) }

  /// The names of the guests that have an image and an expected output.
  static let names: [String] = {
    let files = try? FileManager.default.contentsOfDirectory(
      atPath: folder.appendingPathComponent("Prebuilt").path)
    let names = (files ?? []).filter { $0.hasSuffix(".elf") }.map { String($0.dropLast(4)) }
    return names.filter { (try? expected($0, "txt")) != nil }.sorted()
  }()

  private static func expected(_ name: String, _ kind: String) throws -> String {
    let file = folder.appendingPathComponent("Expected").appendingPathComponent("\(name).\(kind)")
    return try String(contentsOf: file, encoding: .utf8)
  }

  /// How a guest's memory is translated.
  enum Paging: CaseIterable { case ept, npt, shadow, shadowWithLocalRoots }

  @Test(
    "a guest prints what it prints on a PC, and exits with its own status",
    arguments: names, Paging.allCases)
  func output(name: String, paging: Paging) throws {
    // Its 200,000 TLB misses take long in a debug build.
    if name == "measure" && paging == .shadowWithLocalRoots { return }
    let file = Self.folder.appendingPathComponent("Prebuilt").appendingPathComponent("\(name).elf")
    var configuration = RunConfiguration(image: [UInt8](try Data(contentsOf: file)))
    configuration.imageName = "\(name).elf"
    configuration.features.vendor = paging == .npt ? .amd : .intel
    if paging == .shadow || paging == .shadowWithLocalRoots {
      configuration.mmu = .shadow
      configuration.features.paging.remove(.protectionKeys)
    }
    if paging == .shadowWithLocalRoots { configuration.specialRoots = .localPages }
    let console = GuestConsole()
    let report = try GuestRun(configuration, console: console).run()
    let output = String(decoding: console.captured, as: UTF8.self)
    let lines = try Self.expected(name, "txt")
    #expect(output == lines, "\(report.summary)\n\(report.dump.joined(separator: "\n"))")
    let status = try Self.expected(name, "status").trimmingCharacters(in: .whitespacesAndNewlines)
    #expect("\(report.status)" == status)
  }
}
