import Foundation
import Testing

/// The folder of the guest programs in this checkout.
private let guests = URL(fileURLWithPath: #filePath)
  .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
  .appendingPathComponent("Guests")

/// The names of the files in a folder that end so, without the ending.
private func names(in folder: URL, ending suffix: String) throws -> [String] {
  try FileManager.default.contentsOfDirectory(atPath: folder.path)
    .filter { $0.hasSuffix(suffix) }.map { String($0.dropLast(suffix.count)) }.sorted()
}

private func image(_ name: String) throws -> Data {
  try Data(contentsOf: guests.appendingPathComponent("Prebuilt/\(name).elf"))
}

/// A 32-bit little-endian word of an image.
private func word(_ image: Data, at offset: Int) -> UInt32 {
  (0..<4).reduce(0) { $0 | UInt32(image[image.startIndex + offset + $1]) << (8 * $1) }
}

/// The offset of the Multiboot header, searched as a loader does.
private func multibootHeader(of image: Data) -> Int? {
  stride(from: 0, to: min(8192, image.count) - 32, by: 4).first { offset in
    word(image, at: offset) == 0x1BAD_B002
      && word(image, at: offset) &+ word(image, at: offset + 4) &+ word(image, at: offset + 8) == 0
  }
}

@Suite("The guest programs")
struct GuestsTests {
  private static let everyGuest = [
    "contexts", "demonstration", "fivelevel", "fork", "measure", "mmio", "modes", "neighbours",
    "pae", "paging32", "selfmap", "spaces", "stores", "touch",
  ]

  @Test("the prebuilt images are the guests, and each has its expected output and status")
  func everyImageHasExpectations() throws {
    let expected = guests.appendingPathComponent("Expected")
    #expect(
      try names(in: guests.appendingPathComponent("Prebuilt"), ending: ".elf")
        == Self.everyGuest)
    #expect(try names(in: expected, ending: ".txt") == Self.everyGuest)
    #expect(try names(in: expected, ending: ".status") == Self.everyGuest)
    for name in Self.everyGuest {
      let text = try String(
        contentsOf: expected.appendingPathComponent("\(name).txt"), encoding: .utf8)
      #expect(("\n" + text).hasSuffix("\n\(name): ok\n"))
      let status = try String(
        contentsOf: expected.appendingPathComponent("\(name).status"), encoding: .utf8)
      // The demonstration halts; the others leave through the exit port with value 0.
      #expect(status == (name == "demonstration" ? "0\n" : "1\n"))
    }
  }

  @Test("the sources give the prebuilt images, byte for byte")
  func rebuilding() throws {
    let folder = FileManager.default.temporaryDirectory
      .appendingPathComponent("penumbra-guests-\(UUID().uuidString)")
    defer { try? FileManager.default.removeItem(at: folder) }
    let build = Process()
    build.executableURL = guests.appendingPathComponent("build")
    build.arguments = [folder.path]
    try build.run()
    build.waitUntilExit()
    try #require(build.terminationStatus == 0)
    #expect(try names(in: folder, ending: ".elf") == Self.everyGuest)
    for name in try names(in: folder, ending: ".elf") {
      let built = try Data(contentsOf: folder.appendingPathComponent("\(name).elf"))
      #expect(try built == image(name), "\(name): Guests/build was not run after a change")
    }
  }

  @Test("every image carries a Multiboot header where a loader looks", arguments: everyGuest)
  func multiboot(name: String) throws {
    let image = try image(name)
    let header = try #require(multibootHeader(of: image))
    // A 64-bit ELF file is loaded by the header's addresses; a 32-bit one by its own headers.
    let wide = image[image.startIndex + 4] == 2
    #expect((word(image, at: header + 4) & 0x1_0000 != 0) == wide)
    #expect(wide == !["modes", "pae", "paging32"].contains(name))
  }

  @Test("the demonstration is small enough to ship inside the executable")
  func demonstrationIsSmall() throws {
    #expect(try image("demonstration").count < 32 * 1024)
  }
}
