import Foundation

/// What another program, a monitor's `info tlb`, said of the same paused guest.
struct MonitorListing {
  /// One page.
  struct Page {
    let linear: UInt64
    let physical: UInt64
    /// Nine letters or dashes: X for no-execute, Global, large Page, Dirty, Accessed, Cache
    /// disable, write Through, User, Writable.
    let flags: String

    var byteCount: UInt64 { flags.contains("P") ? 2 << 20 : 4096 }
  }

  /// The pages by address.
  let pages: [Page]

  /// Reads the listing that lies beside the core.
  init() throws {
    let text = try String(
      contentsOfFile: Tool.resource("linux-6.1-info-tlb.txt"), encoding: .utf8)
    pages = text.split(separator: "\n").compactMap { line in
      let words = line.split(separator: " ")
      guard words.count == 3, let linear = UInt64(words[0].dropLast(), radix: 16),
        let physical = UInt64(words[1], radix: 16)
      else { return nil }
      return Page(linear: linear, physical: physical, flags: String(words[2]))
    }
  }

  /// The page that holds `address`.
  func page(of address: UInt64) -> Page? {
    var low = 0
    var high = pages.count
    while low < high {
      let middle = (low + high) / 2
      if pages[middle].linear <= address { low = middle + 1 } else { high = middle }
    }
    guard low > 0, address - pages[low - 1].linear < pages[low - 1].byteCount else { return nil }
    return pages[low - 1]
  }
}
