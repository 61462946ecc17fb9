import CBaselines
import HardwareModel
import HostMemory
import PagingUnits
import SparseMemory

/// A processor that keeps nothing, so that each access walks.
final class Walker {
  var processor: Processor
  var registers = ControlRegisters()
  let buffer: SparseBuffer
  let dimension: SecondDimension
  let guestRoot: UInt64
  let nestedRoot: UInt64
  let span: UInt64

  init(span: UInt64, nested: Bool) {
    guard let buffer = try? SparseBuffer(byteCount: span * 8) else {
      fatalError("no address space")
    }
    self.buffer = buffer
    self.span = span
    let memory = buffer.memory
    let start = (span * 4) >> 12
    // Accessed and dirty already, so that the walks only read.
    let guest = Tables(
      in: memory, from: nested ? span >> 13 : start, span: nested ? span / 2 : span, present: 0x27,
      leaf: 0x67)
    guestRoot = guest.root
    if nested {
      let second = Tables(in: memory, from: start, span: span, present: 0x107, leaf: 0x337)
      nestedRoot = second.root
      dimension = .ept(eptp: second.root | 6 | 3 << 3 | 1 << 6)
    } else {
      nestedRoot = 0
      dimension = .none
    }
    var features = ProcessorFeatures()
    features.translationSets = 0
    features.keepsWalks = false
    processor = Processor(memory: memory, features: features)
    registers.cr0 = 0x8001_0033
    registers.cr3 = guest.root
    registers.cr4 = 0x20
    registers.efer = 0xD00
  }

  func walk(_ count: Int) -> UInt64 {
    var addresses = Addresses(span: nestedRoot == 0 ? span : span / 2)
    var answer: UInt64 = 0
    let (registers, dimension) = (registers, dimension)
    for _ in 0..<count {
      let outcome = processor.translate(
        GuestVirtual(addresses.next(after: answer)), .read, .supervisor, registers,
        through: dimension)
      guard case .translated(let translation) = outcome else { fatalError("a walk failed") }
      answer = translation.hostPhysical.raw
    }
    return answer
  }

  func baseline(_ count: Int) -> UInt64 {
    var addresses = Addresses(span: nestedRoot == 0 ? span : span / 2)
    var answer: UInt64 = 0
    let memory = UnsafePointer<UInt8>(buffer.unsafeBase.assumingMemoryBound(to: UInt8.self))
    for _ in 0..<count {
      let address = addresses.next(after: answer)
      answer =
        nestedRoot == 0
        ? baseline_walk(memory, guestRoot, address)
        : baseline_nested_walk(memory, nestedRoot, guestRoot, address)
    }
    return answer
  }

  static func cases(small: Bool) -> [Case] {
    let spans: [(String, UInt64)] =
      small
      ? [("16 MiB", 16 << 20)] : [("16 MiB", 16 << 20), ("8 GiB", 8 << 30)]
    return spans.flatMap { label, span in
      [false, true].map { nested in
        let walker = Walker(span: span, nested: nested)
        return Case(
          name: "\(nested ? "2" : "1")-dimensional TLB-miss walk, \(label)", unit: "walk",
          bound: span > 1 << 30 ? 1.5 : 0, ours: { walks in counted { walker.walk(walks) } },
          baseline: { walks in counted { walker.baseline(walks) } }, round: 200_000)
      }
    }
  }
}
