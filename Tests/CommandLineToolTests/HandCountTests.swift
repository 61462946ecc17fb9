import Foundation
import Testing

/// The page "Shadow paging by hand" and the guest that it counts.
@Suite("The hand count of shadow paging")
struct HandCountTests {
  private static let checkout = URL(fileURLWithPath: #filePath)
    .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

  /// The rows of the page's tables, cell by cell, without headings.
  private static func rows(of columns: Int) throws -> [[String]] {
    let page = checkout.appendingPathComponent("Documentation/Penumbra.docc/ShadowPaging.md")
    let text = try String(contentsOf: page, encoding: .utf8)
    return text.split(separator: "\n").filter { $0.hasPrefix("| ") }
      .map { line in
        line.dropFirst().dropLast().split(separator: "|")
          .map { $0.trimmingCharacters(in: .whitespaces) }
      }
      .filter { $0.count == columns && $0[1].first?.isNumber == true }
  }

  /// What `compare` says, row by row as the page shows it.
  private static func measured() throws -> [String: [String]] {
    let guest = checkout.appendingPathComponent("Guests/Prebuilt/touch.elf").path
    let result = try Tool.run(
      ["compare", guest, "--modes", "shadow,ept-4k", "--walk-caches", "off"])
    #expect(result.status == 0, "\(result.errors)")
    var rows: [String: [String]] = [:]
    for line in result.lines.dropFirst() {
      // Two columns at least two spaces apart, the last of which may hold a unit.
      let cells = line.split(separator: "  ").map { $0.trimmingCharacters(in: .whitespaces) }
      guard cells.count == 3 else { continue }
      rows[cells[0]] = Array(cells.dropFirst())
    }
    return rows
  }

  @Test("every number of the page is what compare says")
  func pageAgrees() throws {
    let measured = try Self.measured()
    let rows = try Self.rows(of: 3)
    #expect(rows.count == 14)
    for row in rows {
      #expect(measured[row[0]] == Array(row.dropFirst()), "\(row[0])")
    }
  }

  @Test("the steps of the page add up to its totals")
  func stepsAddUp() throws {
    let steps = try Self.rows(of: 7)
    #expect(steps.count == 14)
    let totals = try Self.rows(of: 3)
    for (column, title, mode) in [
      (1, "faults", 1), (2, "TLB misses", 1), (3, "references", 1), (4, "faults", 2),
      (5, "TLB misses", 2), (6, "references", 2),
    ] {
      let sum = steps.compactMap { Int($0[column]) }.reduce(0, +)
      #expect(totals.contains { $0[0] == title && $0[mode] == "\(sum)" }, "\(title), \(sum)")
    }
  }
}
