import MachineEvents
import PageTables
import PagingUnits
import Testing

private let ept = EntryEncoding.ept(
  accessedDirty: .present, executeOnly: .present, physicalBits: 46)
private let eptWithoutAD = EntryEncoding.ept(
  accessedDirty: .absent, executeOnly: .absent, physicalBits: 46)
private let npt = EntryEncoding.npt(physicalBits: 48)

private func request(
  _ encoding: EntryEncoding, _ rights: AccessRights = .all,
  host: LeafRequest.HostRight = .writable, cause: LeafRequest.Cause = .access,
  level: Level = .page4K, backing: LeafRequest.Backing = .memory
) -> LeafRequest {
  LeafRequest(
    frame: HostFrame(0x12345 << (9 * (UInt64(level.depth) - 1))), level: level, rights: rights,
    host: host, cause: cause,
    accessedDirty: encoding.hasAccessedDirty ? .enabled : .disabled, backing: backing)
}

@Suite("The bits of our own entries")
struct EncodingTests {
  @Test("no two fields of an EPT entry share a bit")
  func eptFieldsAreApart() { #expect(firstOverlap(SPTELayout.EPT.all) == nil) }

  @Test("no two fields of an NPT entry share a bit")
  func nptFieldsAreApart() { #expect(firstOverlap(SPTELayout.NPT.all) == nil) }

  @Test("a device entry's generation and address share no bit with each other or its marker")
  func deviceFieldsAreApart() {
    let ept = [
      SPTELayout.MMIO.generationLow, SPTELayout.MMIO.generationHigh, SPTELayout.MMIO.addressEPT,
      Field(0...2), Field(bit: 63),
    ]
    #expect(firstOverlap(ept) == nil)
    let npt = [
      SPTELayout.MMIO.generationLow, SPTELayout.MMIO.generationHigh, SPTELayout.MMIO.addressNPT,
      Field(0...2), Field(bit: 51),
    ]
    #expect(firstOverlap(npt) == nil)
  }

  private func firstOverlap(_ fields: [Field]) -> [Field]? {
    for (index, one) in fields.enumerated() {
      for other in fields[(index + 1)...] where one.mask & other.mask != 0 { return [one, other] }
    }
    return nil
  }

  @Test("an empty, a frozen and a device entry are not present to anybody", arguments: [ept, npt])
  func specialValues(encoding: EntryEncoding) {
    let device = encoding.mmio(GuestFrame(0xFEE00), .all, generation: 0x7FFFF)
    for entry in [SPTE.nonpresent, .frozen, device] { #expect(!entry.isPresent) }
    #expect(!encoding.isMMIO(.frozen))
    #expect(!encoding.isMMIO(.nonpresent))
    #expect(encoding.isMMIO(device))
    #expect(encoding.mmioGeneration(of: device) == 0x7FFFF)
    #expect(encoding.mmioFrame(of: device) == GuestFrame(0xFEE00))
  }

  @Test("every generation of 19 bits survives a device entry", arguments: [ept, npt])
  func generations(encoding: EntryEncoding) {
    for generation in stride(from: UInt64(0), through: 0x7FFFF, by: 97) {
      let entry = encoding.mmio(GuestFrame(0xABCDE), [], generation: generation)
      #expect(encoding.mmioGeneration(of: entry) == generation)
      #expect(encoding.mmioFrame(of: entry) == GuestFrame(0xABCDE))
    }
  }

  @Test("no present entry is taken for a device's", arguments: [ept, eptWithoutAD, npt])
  func presentIsNotDevice(encoding: EntryEncoding) {
    for rights in (UInt8(0)...7).map(AccessRights.init(rawValue:)) {
      for host in [LeafRequest.HostRight.readOnly, .writable] {
        for cause in [LeafRequest.Cause.access, .prefetch] {
          let entry = encoding.leaf(
            request(encoding, rights, host: host, cause: cause), replacing: .nonpresent)
          #expect(entry.isPresent)
          #expect(!encoding.isMMIO(entry))
          #expect(!entry.isFrozen)
        }
      }
    }
  }

  @Test("an NPT leaf reads as KVM's own tracepoint shows it")
  func nptLeafMatchesKernel() {
    // `kvm_mmu_set_spte: gfn 110 spte 12ac8be67 (rwxu)` and, prefetched, `spte 138633e47`.
    let page = HostFrame(0x12ac8b)
    var wanted = request(npt)
    wanted.frame = page
    let entry = npt.leaf(wanted, replacing: .nonpresent)
    #expect(entry.raw == 0x1_2ac8_be67)
    #expect(npt.rights(of: entry) == [.read, .write, .execute, .user])
    wanted.frame = HostFrame(0x138633)
    wanted.cause = .prefetch
    #expect(npt.leaf(wanted, replacing: .nonpresent).raw == 0x1_3863_3e47)
    wanted.frame = HostFrame(0x183501)
    wanted.cause = .access
    wanted.rights = [.execute, .user]
    #expect(npt.leaf(wanted, replacing: .nonpresent).raw == 0x1_8350_1a25)
  }

  @Test("a writable entry is MMU-writable, and an MMU-writable one host-writable")
  func writableImplications() {
    for encoding in [ept, eptWithoutAD, npt] {
      for rights in (UInt8(0)...7).map(AccessRights.init(rawValue:)) {
        for host in [LeafRequest.HostRight.readOnly, .writable] {
          let entry = encoding.leaf(request(encoding, rights, host: host), replacing: .nonpresent)
          #expect(!entry.isWritable || encoding.isMMUWritable(entry))
          #expect(!encoding.isMMUWritable(entry) || encoding.isHostWritable(entry))
          #expect(entry.isWritable == (rights.contains(.write) && host == .writable))
        }
      }
    }
  }

  @Test("memory is write-back and ignores the guest's PAT; a device is uncacheable")
  func memoryTypes() {
    let memory = ept.leaf(request(ept), replacing: .nonpresent)
    #expect(SPTELayout.EPT.memoryType.value(in: memory.raw) == 6)
    #expect(SPTELayout.EPT.ignorePAT.isSet(in: memory.raw))
    let device = ept.leaf(request(ept, backing: .device), replacing: .nonpresent)
    #expect(SPTELayout.EPT.memoryType.value(in: device.raw) == 0)
    #expect(!SPTELayout.EPT.ignorePAT.isSet(in: device.raw))
  }

  @Test("access tracking sets read and execute aside, takes every right, and gives back the two")
  func accessTracking() {
    let entry = eptWithoutAD.leaf(request(eptWithoutAD), replacing: .nonpresent)
    let tracked = eptWithoutAD.withoutAccess(entry)
    #expect(tracked.isPresent)
    #expect(tracked.raw & 7 == 0)
    #expect(eptWithoutAD.isAccessTracked(tracked))
    #expect(!eptWithoutAD.isAccessed(tracked))
    let restored = eptWithoutAD.restoringRights(tracked)
    #expect(restored.raw & 7 == 0b101)
    #expect(eptWithoutAD.isMMUWritable(restored))
    #expect(eptWithoutAD.withWrite(restored) == entry)
    #expect(eptWithoutAD.withoutAccess(tracked) == tracked)
  }

  @Test("with accessed bits, age is a cleared bit and no right goes")
  func accessedBit() {
    for encoding in [ept, npt] {
      let entry = encoding.leaf(request(encoding), replacing: .nonpresent)
      let old = encoding.withoutAccess(entry)
      #expect(encoding.isAccessed(entry) && !encoding.isAccessed(old))
      #expect(old.isWritable && encoding.isReadable(old) && encoding.isExecutable(old))
    }
  }

  @Test("the dirty bit comes with a new write right, not with one the entry had")
  func dirtyBit() {
    let fresh = ept.leaf(request(ept), replacing: .nonpresent)
    #expect(ept.isDirty(fresh))
    let clean = SPTE(raw: fresh.raw & ~SPTELayout.EPT.dirty.mask)
    #expect(!ept.isDirty(ept.leaf(request(ept), replacing: clean)))
    let protected = ept.withoutWrite(clean)
    #expect(ept.isDirty(ept.leaf(request(ept), replacing: protected)))
  }

  @Test("a flush is owed when MMU-writable loses its write, accessed its mark, or dirty its mark")
  func owedFlushes() {
    let entry = ept.leaf(request(ept), replacing: .nonpresent)
    #expect(!ept.owesFlush(from: entry, to: entry))
    #expect(ept.owesFlush(from: entry, to: ept.withoutWrite(entry)))
    // Another processor may have made it writable and cached it, so MMU-writable alone owes too.
    let protected = ept.withoutWrite(entry)
    #expect(ept.owesFlush(from: protected, to: ept.writeProtected(protected)))
    let forGood = ept.writeProtected(entry)
    #expect(ept.owesFlush(from: forGood, to: ept.withoutAccess(forGood)))
    #expect(!ept.owesFlush(from: protected, to: entry))
  }

  @Test("an entry that others may change in one step must be replaced in one step")
  func volatility() {
    let entry = ept.leaf(request(ept), replacing: .nonpresent)
    #expect(!ept.hasVolatileBits(entry))
    #expect(ept.hasVolatileBits(ept.withoutAccess(entry)))
    #expect(ept.hasVolatileBits(ept.withoutWrite(entry)))
    #expect(ept.hasVolatileBits(SPTE(raw: entry.raw & ~SPTELayout.EPT.dirty.mask)))
    #expect(!ept.hasVolatileBits(ept.writeProtected(entry)))
  }

  @Test("the parts of a large page map its frames in order, with its rights", arguments: 0..<512)
  func parts(index: Int) {
    for encoding in [ept, npt] {
      let large = encoding.leaf(request(encoding, level: .page2M), replacing: .nonpresent)
      let part = encoding.part(index, of: large, at: .page2M)
      #expect(encoding.frame(of: part) == encoding.frame(of: large) + UInt64(index))
      #expect(part.isLeaf(at: .page4K) && part.raw & SPTELayout.pageSize.mask == 0)
      #expect(encoding.rights(of: part) == encoding.rights(of: large))
      let huge = encoding.leaf(request(encoding, level: .page1G), replacing: .nonpresent)
      let middle = encoding.part(index, of: huge, at: .page1G)
      #expect(encoding.frame(of: middle) == encoding.frame(of: huge) + UInt64(index) * 512)
      #expect(middle.isLeaf(at: .page2M))
    }
  }

  @Test("a table entry has every right and is no leaf", arguments: [ept, eptWithoutAD, npt])
  func tableEntries(encoding: EntryEncoding) {
    let use: AccessedDirtyUse = encoding.hasAccessedDirty ? .enabled : .disabled
    let entry = encoding.table(HostFrame(0x777), accessedDirty: use)
    #expect(entry.isPresentTable(at: .page2M))
    #expect(encoding.frame(of: entry) == HostFrame(0x777))
    #expect(encoding.rights(of: entry) == [.read, .write, .execute, .user])
  }

  @Test(
    "an encryption bit is in what leads to memory and in nothing else", arguments: 32...51)
  func encryption(bit: Int) {
    for physicalBits in 32...bit {
      for encoding in [
        EntryEncoding.npt(physicalBits: physicalBits, encryptionBit: bit),
        .shadow(physicalBits: physicalBits, encryptionBit: bit),
      ] {
        let mask: UInt64 = 1 << UInt64(bit)
        let last = HostFrame(1 << UInt64(physicalBits - 12) - 1)
        var wanted = request(encoding)
        wanted.frame = last
        let leaf = encoding.leaf(wanted, replacing: .nonpresent)
        #expect(leaf.raw & mask != 0 && encoding.frame(of: leaf) == last)
        #expect(encoding.backing(of: leaf) == .memory)
        wanted.backing = .device
        let device = encoding.leaf(wanted, replacing: .nonpresent)
        #expect(device.raw == leaf.raw & ~mask && encoding.frame(of: device) == last)
        #expect(encoding.backing(of: device) == .device)
        let table = encoding.table(last, accessedDirty: .enabled)
        #expect(table.raw & mask != 0 && encoding.frame(of: table) == last)
        let pointer = encoding.directoryPointer(last)
        #expect(pointer.raw == last.address.raw | mask | 0x801)
        guard encoding.cachesMMIO else {
          // The only bit that would be left is the encryption bit.
          #expect(bit == 51 && physicalBits == 51)
          continue
        }
        let frame = GuestFrame(last.number)
        let mark = encoding.mmio(frame, .all, generation: 0x5_5555)
        #expect(mark.raw & mask == 0 && encoding.isMMIO(mark) && !encoding.isMMIO(leaf))
        #expect(encoding.mmioFrame(of: mark) == frame)
        #expect(encoding.mmioGeneration(of: mark) == 0x5_5555)
        // A reserved bit makes processors fault.
        let reserved = ~0 << UInt64(physicalBits) & SPTELayout.frame.mask & ~mask
        #expect(mark.raw & reserved != 0)
      }
    }
  }

  @Test("the parts of an encrypted large page are encrypted")
  func encryptedParts() {
    let encoding = EntryEncoding.npt(physicalBits: 43, encryptionBit: 47)
    let large = encoding.leaf(request(encoding, level: .page2M), replacing: .nonpresent)
    for index in 0..<512 {
      let part = encoding.part(index, of: large, at: .page2M)
      #expect(part.raw >> 47 & 1 == 1)
      #expect(encoding.frame(of: part) == encoding.frame(of: large) + UInt64(index))
    }
  }
}
