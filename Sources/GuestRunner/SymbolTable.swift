/// The names of a guest's functions, by address.
public struct SymbolTable: Hashable, Sendable {
  private struct Symbol: Hashable {
    var address: UInt64
    var byteCount: UInt64
    var name: String
  }

  private static let limit: UInt64 = 1 << 20
  private static let nameLimit: UInt64 = 512
  private var symbols: [Symbol] = []
  /// Where everything that has a name and a size lies in guest-physical memory.
  private var places: [String: Range<UInt64>] = [:]

  /// No names.
  public init() {}

  /// The functions and labels of an ELF file; what is malformed is left out.
  init(_ file: ELFFile, _ image: ImageBytes) {
    for index in 0..<file.sections {
      guard let table = file.section(index, image), table.kind == 2,
        let strings = file.section(table.link, image), strings.kind == 3
      else { continue }
      let size: UInt64 = file.is64 ? 24 : 16
      for entry in 0..<min(table.byteCount / size, Self.limit) {
        guard
          let (symbol, kind) = Self.symbol(at: table.offset + entry * size, file, strings, image)
        else { continue }
        // Functions and plain labels name code; data is found by its name only.
        if kind == 2 || kind == 0 { symbols.append(symbol) }
        if symbol.byteCount > 0, let start = file.physicalAddress(of: symbol.address, image),
          start <= .max - symbol.byteCount
        {
          places[symbol.name] = start..<start + symbol.byteCount
        }
      }
      break
    }
    symbols.sort { ($0.address, $0.name) < ($1.address, $1.name) }
  }

  private static func symbol(
    at offset: UInt64, _ file: ELFFile, _ strings: ELFFile.Section, _ image: ImageBytes
  ) -> (Symbol, kind: UInt8)? {
    do throws(ImageError) {
      let start = UInt64(try image.word(offset))
      let info = try image.byte(offset + (file.is64 ? 4 : 12))
      let section = try image.half(offset + (file.is64 ? 6 : 14))
      let address = file.is64 ? try image.long(offset + 8) : UInt64(try image.word(offset + 4))
      let count = file.is64 ? try image.long(offset + 16) : UInt64(try image.word(offset + 8))
      // Data, functions and plain labels that are defined in a section.
      guard info & 0xF <= 2, section != 0, section < 0xFF00,
        start != 0, start < strings.byteCount
      else { return nil }
      var bytes: [UInt8] = []
      var position = strings.offset + start
      let end = min(strings.offset + strings.byteCount, position + nameLimit)
      while position < end {
        let byte = try image.byte(position)
        if byte == 0 { break }
        bytes.append(byte)
        position += 1
      }
      guard !bytes.isEmpty else { return nil }
      let name = String(decoding: bytes, as: UTF8.self)
      return (Symbol(address: address, byteCount: count, name: name), info & 0xF)
    } catch {
      return nil
    }
  }

  /// Whether there are no names.
  public var isEmpty: Bool { symbols.isEmpty && places.isEmpty }

  /// Where a function or an object lies in guest-physical memory; `nil` for a name that the file
  /// does not have, or that has no size.
  public func place(of name: String) -> Range<UInt64>? { places[name] }

  /// The name of the function that holds an address, with the distance from its start:
  /// `main+0x1c`.
  public func name(of address: UInt64) -> String? {
    var low = 0
    var high = symbols.count
    while low < high {
      let middle = (low + high) / 2
      if symbols[middle].address <= address { low = middle + 1 } else { high = middle }
    }
    guard low > 0 else { return nil }
    let symbol = symbols[low - 1]
    let distance = address - symbol.address
    // A label without a size reaches to the next symbol, but not arbitrarily far.
    guard distance < max(symbol.byteCount, 0x10000) else { return nil }
    return distance == 0 ? symbol.name : "\(symbol.name)+0x\(String(distance, radix: 16))"
  }
}
