import HostMemory
import PagingUnits

/// What a straight walk read: the bits of its entries together, and where it came to.
struct StraightPath {
  var gathered: GatheredBits
  /// The bits that any entry has that points to a table.
  var tables: UInt64 = 0
  /// The leaf, or what seems one.
  var entry: UInt64 = 0
  var depth: Int

  /// Goes down 8-byte tables to the first entry that seems a leaf.
  @inline(__always)
  init(_ memory: PhysicalMemory, from root: UInt64, depth top: Int, _ address: UInt64) {
    gathered = GatheredBits()
    depth = top
    var table = root
    while true {
      let place = Processor.place(in: table, depth, address)
      entry = memory.entryOrOnes(at: HostPhysical(place))
      gathered.gather(entry)
      if depth == 1 || entry & EntryBits.pageSize != 0 { return }
      tables |= entry
      table = entry & EntryBits.address
      depth &-= 1
    }
  }

  /// A path that has read nothing yet, below entries that say so much.
  @inline(__always) init(below gathered: GatheredBits, depth: Int) {
    self.gathered = gathered
    self.depth = depth
  }

  /// The number of bytes that the leaf maps, less one.
  @inline(__always) var inPage: UInt64 { Level(depth).byteCount &- 1 }

  /// Where the leaf maps an address to.
  @inline(__always) func target(of address: UInt64) -> UInt64 {
    entry & EntryBits.address & ~inPage | address & inPage
  }
}

/// What an access needs of the entries on its way.
struct TableNeed {
  /// The bits that every entry must have.
  var all: UInt64 = 0
  /// The bits that the leaf must have besides.
  var leaf: UInt64 = 0
  /// The bits that no entry may have.
  var none: UInt64 = 0
}

/// What the entries of a walk must look like, for it to go straight through.
///
/// These rules tell only whether all is well. Where it is not, a careful walk tells what is wrong:
/// it looks at each entry in its turn, by rules of its own.
struct TableRules {
  /// The bits that no entry may have that points to a table.
  let table: UInt64
  /// The bits that the leaf of a 2 MiB page may not have.
  let megabytes: UInt64
  /// The bits that the leaf of a 1 GiB page may not have.
  let gigabyte: UInt64
  /// One bit for each value of bits 5:3 that a leaf may not have.
  let types: UInt64

  /// Of a guest's own tables in 64-bit modes.
  init(guest features: ProcessorFeatures) {
    table = features.vendor == .amd ? EntryBits.global : 0
    megabytes = 0x001F_E000
    gigabyte = features.hasGigabytePages ? 0x3FFF_E000 : EntryBits.pageSize
    types = 0
  }

  /// Of extended page tables.
  init(ept features: ProcessorFeatures) {
    table = 0x78
    megabytes = features.largestSecondPage >= .page2M ? 0x001F_F000 : EntryBits.pageSize
    gigabyte = features.largestSecondPage >= .page1G ? 0x3FFF_F000 : EntryBits.pageSize
    types = EPTBits.badMemoryTypes
  }

  /// Of nested page tables.
  init(npt features: ProcessorFeatures) {
    table = EntryBits.global
    megabytes = features.largestSecondPage >= .page2M ? 0x001F_E000 : EntryBits.pageSize
    gigabyte = features.largestSecondPage >= .page1G ? 0x3FFF_E000 : EntryBits.pageSize
    types = 0
  }

  /// Whether an access may go by what it read.
  @inline(__always) func hold(_ path: StraightPath, _ need: TableNeed) -> Bool {
    let entry = path.entry
    let missing = ~path.gathered.all & need.all | ~entry & need.leaf
    // Above level 3 there are no pages: what seems one has the bit that makes it seem so.
    var shape: UInt64 = 0
    if path.depth > 1 {
      shape = path.depth == 2 ? megabytes : path.depth == 3 ? gigabyte : EntryBits.pageSize
    }
    let odd = path.gathered.any & need.none | path.tables & table | entry & shape
    return missing | odd | types &>> (entry &>> 3 & 7) & 1 == 0
  }
}
